"""What the GitHub Action at the root of the repository (action.yml) runs."""
