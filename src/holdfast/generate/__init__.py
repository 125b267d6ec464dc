"""Checkpoint × prompts → answers, one file for each place where a model can answer."""

GENERATORS = {
    "local": "holdfast.generate.local:LocalGenerator",
    "server": "holdfast.generate.server:ServerGenerator",
}
"""Answering back ends by name."""
