"""A finished run folder → results.json."""
