"""The `transformers.Trainer` of a local tuning: optimizer, checkpoints to keep, and a check that tuning took place."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import TuningError
from holdfast.core.protocols import Report
from holdfast.models.chat import Rendered
from holdfast.tuning import checkpoints
from holdfast.tuning.launch import is_first, world_size

if TYPE_CHECKING:
    import torch
    from transformers import Trainer, TrainerCallback

SAVE_EVERY = 60.0
"""Seconds of work that a killed run can lose: a longer epoch ends with a checkpoint to go on from."""


def trainer_class(optimizer: Callable[[Any], Any], scheduler: Callable[[Any], Any]) -> type[Trainer]:
    """A Trainer with this optimizer and schedule, made when it asks for them: sharded models ask late."""
    from transformers import Trainer

    class Ours(Trainer):
        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                self.optimizer = optimizer(self.model if model is None else model)
            return self.optimizer

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                self.lr_scheduler = scheduler(self.optimizer if optimizer is None else optimizer)
            return self.lr_scheduler

    return Ours


def last_saved(folder: Path) -> str | None:
    """The newest checkpoint of a Trainer that was killed, to go on from; None if there is no whole one."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]  # the file that is written last
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


class Probe:
    """The base's logits on one row, kept to see whether tuning changed them."""

    def __init__(self, model: Any, row: Rendered) -> None:
        self.ids = row.input_ids[:64].tolist()
        self.before = self._logits(model)

    def _logits(self, model: Any) -> torch.Tensor:
        import torch

        with torch.no_grad():
            logits: torch.Tensor = model(torch.tensor([self.ids], device=model.device)).logits.float().cpu()
        return logits

    def shift(self, model: Any) -> float:
        """The largest change of a logit.

        Raises:
            TuningError: there is none.
        """
        training = model.training
        shift = (self._logits(model.eval()) - self.before).abs().max().item()
        model.train(training)
        if not shift > 0:
            raise TuningError("tuning changed nothing: the checkpoint's logits are those of its base.")
        return float(shift)


@dataclass(frozen=True)
class Keeping:
    """Which checkpoints a tuning leaves, and what their records say."""

    folder: Path
    epochs: Collection[int]
    tokenizer: Any
    probe: Probe
    facts: Mapping[str, Any]
    """What the record of each of them begins with."""


def keeper(trainer: Trainer, keeping: Keeping, report: Report) -> TrainerCallback:
    """A callback that reports steps, keeps the wanted epochs, and saves a long tuning so that it can be resumed."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.started = self.saved = time.monotonic()
            report(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            report(1)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not math.isfinite((logs or {}).get("loss", 0.0)):
                raise TuningError(f"the loss is {logs['loss']} at step {state.global_step}. Lower the learning rate.")

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            epoch = round(state.epoch)
            if epoch in keeping.epochs:
                _keep(trainer, keeping, epoch, state, time.monotonic() - self.started)
            if time.monotonic() - self.saved > SAVE_EVERY:
                self.saved = time.monotonic()
                control.should_save = True

    return Keeper()


def _keep(trainer: Trainer, keeping: Keeping, epoch: int, state: Any, seconds: float) -> None:
    """Leave the checkpoint of an epoch."""
    model: Any = trainer.model if world_size() == 1 else trainer.model_wrapped
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    shift = keeping.probe.shift(model)
    draft = checkpoints.draft(keeping.folder, epoch)
    trainer.save_model(str(draft))  # gathers the weights where they are spread over processes
    if not is_first():
        return
    if not list(draft.glob("*.safetensors")):
        raise TuningError("the weights were saved in shards. Set `fsdp_state_dict_type: FULL_STATE_DICT`.")
    (draft / "training_args.bin").unlink(missing_ok=True)  # a pickle
    keeping.tokenizer.save_pretrained(draft)
    record = {**keeping.facts, "steps": state.global_step, "losses": losses, "logit_shift": shift, "seconds": seconds}
    checkpoints.publish(keeping.folder, epoch, record)
