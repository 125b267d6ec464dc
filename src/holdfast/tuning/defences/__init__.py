"""What a provider or a user changes so that safety holds, one file for each defence."""

DEFENCES = {"safety-mix": "holdfast.tuning.defences.safety_mix:SafetyMix"}
"""Defences by name."""
