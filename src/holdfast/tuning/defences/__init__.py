"""What a provider or a user changes so that safety holds, one file for each defence."""

DEFENCES = {
    "safety-mix": "holdfast.tuning.defences.safety_mix:SafetyMix",
    "constrained-sft": "holdfast.tuning.defences.constrained_sft:ConstrainedSFT",
    "safety-prompt": "holdfast.tuning.defences.safety_prompt:SafetyPrompt",
}
"""Defences by name."""
