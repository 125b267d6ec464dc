"""Models: found, loaded safely, rendered for through their chat template, and asked, here or over HTTP."""
