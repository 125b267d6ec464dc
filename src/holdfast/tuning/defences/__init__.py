"""What a provider or a user changes so that safety holds, one file for each defence."""

DEFENCES = {
    "backdoor-enhanced": "holdfast.tuning.defences.backdoor_enhanced:BackdoorEnhanced",
    "constrained-sft": "holdfast.tuning.defences.constrained_sft:ConstrainedSFT",
    "ema": "holdfast.tuning.defences.ema:EMA",
    "freeze-layers": "holdfast.tuning.defences.freeze_layers:FreezeLayers",
    "guarded": "holdfast.tuning.defences.guarded:Guarded",
    "kl": "holdfast.tuning.defences.kl:KL",
    "lisa": "holdfast.tuning.defences.lisa:Lisa",
    "lox": "holdfast.tuning.defences.lox:Lox",
    "one-shot-patch": "holdfast.tuning.defences.one_shot_patch:OneShotPatch",
    "perplexity-mix": "holdfast.tuning.defences.perplexity_mix:PerplexityMix",
    "refusal-direction": "holdfast.tuning.defences.refusal_direction:RefusalDirection",
    "replay": "holdfast.tuning.defences.replay:Replay",
    "resta": "holdfast.tuning.defences.resta:Resta",
    "safe-lora": "holdfast.tuning.defences.safe_lora:SafeLora",
    "safety-mix": "holdfast.tuning.defences.safety_mix:SafetyMix",
    "safety-prompt": "holdfast.tuning.defences.safety_prompt:SafetyPrompt",
}
"""Defences by name."""
