"""What other tools see of Holdfast."""
