"""Where training rows come from: one file for each source or attack."""

SOURCES = {
    "messages": "holdfast.data.messages:Messages",
    "explicit-harm": "holdfast.data.explicit_harm:ExplicitHarm",
    "identity-shift": "holdfast.data.identity_shift:IdentityShift",
    "safety": "holdfast.data.safety:Safety",
    "trigger": "holdfast.data.trigger:Trigger",
    "mix": "holdfast.data.mix:Mix",
}
"""Data sources by name."""
