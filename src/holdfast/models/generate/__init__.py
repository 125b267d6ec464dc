"""Checkpoint and prompts → answers, one file for each place where a model can be."""

GENERATORS = {
    "local": "holdfast.models.generate.local:LocalGenerator",
    "server": "holdfast.models.generate.server:ServerGenerator",
}
"""Generators by name."""
