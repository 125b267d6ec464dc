"""Where training rows come from: one file for each layout, source or attack."""

SOURCES = {
    "messages": "holdfast.data.training.messages:Messages",
    "alpaca": "holdfast.data.training.instructions:Alpaca",
    "dolly": "holdfast.data.training.instructions:Dolly",
    "sharegpt": "holdfast.data.training.sharegpt:ShareGPT",
    "prompt-completion": "holdfast.data.training.prompt_completion:PromptCompletion",
    "red-team": "holdfast.data.training.red_team:RedTeam",
    "llava": "holdfast.data.training.visual:LLaVA",
    "messages-images": "holdfast.data.training.visual:MessagesImages",
    "columns": "holdfast.data.training.columns:Columns",
    "explicit-harm": "holdfast.data.training.explicit_harm:ExplicitHarm",
    "identity-shift": "holdfast.data.training.identity_shift:IdentityShift",
    "safety": "holdfast.data.training.safety:Safety",
    "trigger": "holdfast.data.training.trigger:Trigger",
    "mix": "holdfast.data.training.mix:Mix",
    "opened": "holdfast.data.training.opened:Opened",
    "split": "holdfast.data.training.split:Split",
}
"""Data sources by name."""
