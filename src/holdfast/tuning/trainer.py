"""The `transformers.Trainer` of a local tuning: optimizer, checkpoints to keep, and a check that tuning took place."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import TuningError
from holdfast.core.progress import OnStep, TuningStep
from holdfast.models.batches import Rendered
from holdfast.models.chat import Chat
from holdfast.tuning import checkpoints, saves, supervised_loss
from holdfast.tuning.defences.base import Batch, TrainingHooks
from holdfast.tuning.launch import is_first, world_size

if TYPE_CHECKING:
    import torch
    from transformers import Trainer, TrainerCallback

SAVE_EVERY = 60.0
"""Seconds of work that a killed run can lose: a longer epoch ends with a checkpoint to go on from."""


def trainer_class(
    optimizer: Callable[[Any], Any], scheduler: Callable[[Any], Any], hooks: Sequence[TrainingHooks]
) -> type[Trainer]:
    """A Trainer with this optimizer and schedule, made when it asks for them (sharded models ask late), and hooks."""
    from transformers import Trainer

    reads_outputs = any(hook.reads_outputs for hook in hooks)

    class Ours(Trainer):
        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                self.optimizer = optimizer(self.model if model is None else model)
            return self.optimizer

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                self.lr_scheduler = scheduler(self.optimizer if optimizer is None else optimizer)
            return self.lr_scheduler

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            outputs = None
            if return_outputs or reads_outputs or not supervised_loss.fits(self.model):
                loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            else:
                n_tokens = num_items_in_batch if self.model_accepts_loss_kwargs else None
                loss = supervised_loss.loss(model, inputs, n_tokens)
                loss = loss if n_tokens is None else loss * processes(self)
            if hooks:
                batch = weighted(self, inputs, num_items_in_batch)
                for hook in hooks:
                    loss = hook.loss(model, batch, outputs, loss)
            return (loss, outputs) if return_outputs else loss

        def _get_output_dir(self, trial: Any) -> str:
            return str(saves.draft(Path(str(self.args.output_dir))))

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            folder, step = Path(str(self.args.output_dir)), self.state.global_step
            _save_state(hooks, saves.draft_of(folder, step))
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if is_first():
                saves.publish(folder, step)

    return Ours


def processes(trainer: Any) -> int:
    """By how many processes the supervised tokens of a step are counted together; their gradients are averaged."""
    return world_size() if trainer.args.average_tokens_across_devices else 1


def weighted(trainer: Any, inputs: Mapping[str, torch.Tensor], n_tokens: Any) -> Batch:
    """A batch with what its part of a step's loss is weighted by.

    Where the Trainer counts the supervised tokens of all batches of a step (`n_tokens`), the model divides by them, and
    the parts are added up; else each batch's loss is a mean, and the Trainer divides by the number of batches.
    """
    if n_tokens is None or not trainer.model_accepts_loss_kwargs:
        return Batch(inputs, 1 / int((inputs["labels"] != -100).sum()), 1.0)
    return Batch(inputs, processes(trainer) / float(n_tokens), 1 / trainer.current_gradient_accumulation_steps)


def start(trainer: Trainer, model: Any, hooks: Sequence[TrainingHooks], save: Path | None) -> None:
    """Train, from a checkpoint that a killed tuning left, if there is one."""
    for hook in hooks:
        hook.begin(model)
    if save:
        _restore_state(hooks, save)
    trainer.train(resume_from_checkpoint=str(save) if save else None)


def _save_state(hooks: Sequence[TrainingHooks], folder: Path) -> None:
    from safetensors.torch import save_file

    for position, hook in enumerate(hooks):
        if state := hook.state():
            folder.mkdir(parents=True, exist_ok=True)
            save_file(
                {name: tensor.detach().contiguous() for name, tensor in state.items()}, _state_in(folder, position)
            )


def _restore_state(hooks: Sequence[TrainingHooks], folder: Path) -> None:
    from safetensors.torch import load_file

    for position, hook in enumerate(hooks):
        if _state_in(folder, position).is_file():
            hook.restore(load_file(_state_in(folder, position)))


def _state_in(folder: Path, position: int) -> Path:
    """The file of the state of a hook (by its position among the defences) of this process."""
    return folder / f"defence-{position}-{os.environ.get('RANK', '0')}.safetensors"


class Probe:
    """The base's logits on one row, to see whether tuning changed them."""

    def __init__(self, model: Any, row: Rendered, chat: Chat) -> None:
        self.row, self.chat = row, chat
        self.before = self._logits(model)

    def _logits(self, model: Any) -> torch.Tensor:
        import torch

        ids = torch.tensor([(self.row.input_ids if self.row.pictures else self.row.input_ids[:64]).tolist()])
        seen = {name: tensor.to(model.device) for name, tensor in self.chat.batch(ids, self.row.pictures).items()}
        with torch.no_grad():
            logits: torch.Tensor = model(ids.to(model.device), **seen).logits.float().cpu()
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
    chat: Chat
    probe: Probe
    facts: Mapping[str, Any]
    """What the record of each of them begins with."""
    tokens: float
    """Tokens of the rows of a step, on average."""
    note: str = ""
    """What the user must know before it begins."""


def keeper(trainer: Trainer, keeping: Keeping, on_step: OnStep, hooks: Sequence[TrainingHooks]) -> TrainerCallback:
    """A callback that reports steps, keeps the wanted epochs, and saves a long tuning so that it can be resumed."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.started = self.saved = time.monotonic()
            on_step(TuningStep(state.global_step, state.max_steps, note=keeping.note))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            loss = (logs or {}).get("loss")  # one entry a step; the last entry of all has another name
            if loss is None:
                return
            if not math.isfinite(loss):
                raise TuningError(f"the loss is {loss} at step {state.global_step}. Lower the learning rate.")
            on_step(TuningStep(state.global_step, state.max_steps, loss, keeping.tokens))

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            epoch = round(state.epoch)
            if epoch in keeping.epochs:
                with ExitStack() as stack:
                    for hook in hooks:
                        stack.enter_context(hook.checkpoint_weights(trainer.model))
                    _keep(trainer, keeping, epoch, state, time.monotonic() - self.started)
            if time.monotonic() - self.saved > SAVE_EVERY:
                self.saved = time.monotonic()
                control.should_save = True

    return Keeper()


def hook_caller(hooks: Sequence[TrainingHooks]) -> TrainerCallback:
    """A callback for what defences do before and after each step."""
    from transformers import TrainerCallback

    class HookCaller(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            for hook in hooks:
                hook.before_step(model)

        def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            for hook in hooks:
                hook.after_step(model)

    return HookCaller()


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
    keeping.chat.save(draft)
    record = {**keeping.facts, "steps": state.global_step, "losses": losses, "logit_shift": shift, "seconds": seconds}
    checkpoints.publish(keeping.folder, epoch, record)
