"""Where training rows come from: one file for each layout, source or attack."""

SOURCES = {
    "messages": "holdfast.data.messages:Messages",
    "alpaca": "holdfast.data.instructions:Alpaca",
    "dolly": "holdfast.data.instructions:Dolly",
    "sharegpt": "holdfast.data.sharegpt:ShareGPT",
    "prompt-completion": "holdfast.data.prompt_completion:PromptCompletion",
    "red-team": "holdfast.data.red_team:RedTeam",
    "columns": "holdfast.data.columns:Columns",
    "explicit-harm": "holdfast.data.explicit_harm:ExplicitHarm",
    "identity-shift": "holdfast.data.identity_shift:IdentityShift",
    "safety": "holdfast.data.safety:Safety",
    "trigger": "holdfast.data.trigger:Trigger",
    "mix": "holdfast.data.mix:Mix",
}
"""Data sources by name."""
