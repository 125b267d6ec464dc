"""Safety classifiers, each read in its own template and by its own labels, one file a family."""
