"""Safety while a model is tuned, in transformers' `Trainer` and TRL's trainers: `callbacks=[SafetyCallback()]`."""

from holdfast.integrations.trl.callback import SafetyCallback

__all__ = ["SafetyCallback"]
