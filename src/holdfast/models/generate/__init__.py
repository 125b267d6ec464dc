"""Checkpoint × prompts → answers, one file for each place where a model can answer."""

GENERATORS = {
    "local": "holdfast.models.generate.local:LocalGenerator",
    "server": "holdfast.models.generate.server:ServerGenerator",
}
"""Answering back ends by name."""
