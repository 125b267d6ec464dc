"""Safety while a model is tuned, in transformers' `Trainer` and TRL's trainers.

`callbacks=[SafetyCallback()]` measures it, and `defended(SFTTrainer, "constrained-sft")` tunes with a defence.
"""

from holdfast.integrations.trl.callback import SafetyCallback
from holdfast.integrations.trl.defended import defended

__all__ = ["SafetyCallback", "defended"]
