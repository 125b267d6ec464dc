"""What a provider or a user changes so that safety holds, one file for each defence."""

DEFENCES = {
    "lox": "holdfast.tuning.defences.lox:Lox",
    "resta": "holdfast.tuning.defences.resta:Resta",
    "safe-lora": "holdfast.tuning.defences.safe_lora:SafeLora",
    "safety-mix": "holdfast.tuning.defences.safety_mix:SafetyMix",
}
"""Defences by name."""
