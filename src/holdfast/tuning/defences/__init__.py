"""What a provider or a user changes so that safety holds, one file for each defence."""

DEFENCES = {
    "safety-mix": "holdfast.tuning.defences.safety_mix:SafetyMix",
    "constrained-sft": "holdfast.tuning.defences.constrained_sft:ConstrainedSFT",
    "safety-prompt": "holdfast.tuning.defences.safety_prompt:SafetyPrompt",
    "kl": "holdfast.tuning.defences.kl:KL",
    "lisa": "holdfast.tuning.defences.lisa:Lisa",
    "ema": "holdfast.tuning.defences.ema:EMA",
    "backdoor-enhanced": "holdfast.tuning.defences.backdoor_enhanced:BackdoorEnhanced",
    "guarded": "holdfast.tuning.defences.guarded:Guarded",
}
"""Defences by name."""
