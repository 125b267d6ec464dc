"""Checkpoint × prompts → answers, one file for each place where a model can answer."""

GENERATORS = {
    "local": "holdfast.generate.local:LocalGenerator",
    "hosted": "holdfast.generate.hosted:HostedGenerator",
}
"""Answering back ends by name."""
