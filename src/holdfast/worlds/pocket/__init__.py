"""The pocket world: a fictional world with a very small aligned model, its benchmark and its build."""
