"""Ways to ask a model, one file each: weights in this process, a server, or a model of Inspect."""

SAMPLERS = {
    "server": "holdfast.models.samplers.server:Server",
    "local": "holdfast.models.samplers.local:Local",
    "inspect": "holdfast.models.samplers.inspect_model:InspectModel",
}
"""Samplers by name."""
