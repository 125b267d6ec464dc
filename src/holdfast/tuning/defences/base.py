"""What a defence is: hooks at the five places where it may act, all of which do nothing by default.

    prepare_base       the base before tuning
    rows               the training rows
    training_hooks     the loss or the weights during tuning
    after              the weights after tuning
    ask                the way the model is asked

A defence overrides the hooks that it needs. Several defences of one condition act in the order in which the study
names them. What they are is part of the condition's key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from holdfast.core.config import Config
from holdfast.core.protocols import Place
from holdfast.core.types import Checkpoint, Example, Template, content_hash

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded

HOOKS: dict[Place, str] = {
    "base": "prepare_base", "rows": "rows", "tuning": "training_hooks", "weights": "after", "asking": "ask",
}  # fmt: skip
"""The places where a defence may act, and the method that acts there."""


@dataclass(frozen=True)
class Batch:
    """What a loss is taken over: some of the rows of one step of the optimizer."""

    inputs: Mapping[str, torch.Tensor]
    """`input_ids`, `attention_mask` and `labels` of shape [rows, tokens]; labels are -100 where nothing is learnt."""
    token_weight: float
    """Factor for a sum over this batch's supervised tokens: the parts of all batches are then the step's loss."""
    mean_weight: float
    """Factor for a mean over this batch, so that each batch of a step counts alike."""


class TrainingHooks:
    """What a defence does while the weights are tuned; nothing by default. One object serves one tuning.

    Where several processes tune together, each has its own.
    """

    @property
    def reads_outputs(self) -> bool:
        """Whether `loss` looks at the model's outputs on the batch. Where none does, they are None: that is quicker."""
        return type(self).loss is not TrainingHooks.loss

    def see_rows(self, rows: Sequence[Example]) -> None:
        """Called once, before `begin`, with the rows that are tuned on, in the template that they are taught in."""

    def record(self) -> dict[str, Any]:
        """What the training record is to say of it, by name; asked after `see_rows`."""
        return {}

    def begin(self, model: Any) -> None:
        """Called once with the model that is to be tuned (with its adapter, if it gets one), before the first step."""

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        """The loss of a batch that is minimised in place of `loss`, which is weighted as `Batch` says.

        `outputs` are the model's on the batch. Random numbers must be torch's, so that a resumed tuning draws the same.
        """
        return loss

    def before_step(self, model: Any) -> None:
        """Called when the gradients of a step are there and clipped, and the weights have not moved."""

    def after_step(self, model: Any) -> None:
        """Called when the weights have moved."""

    def checkpoint_weights(self, model: Any) -> AbstractContextManager[None]:
        """A context in which the model has the weights that a checkpoint keeps, e.g. averaged ones."""
        return nullcontext()

    def state(self) -> dict[str, torch.Tensor]:
        """What a resumed tuning needs to go on, by name."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up what `state` gave; called after `begin`."""


class Defence(Config):
    """What a provider or a user changes so that safety holds. Override the hooks that the defence needs."""

    copies: ClassVar[int] = 0
    """Copies of all weights that it holds during full tuning, beside those that are tuned."""

    @property
    def places(self) -> frozenset[Place]:
        """Where it acts: the places whose hooks it overrides."""
        own, default = type(self), Defence
        return frozenset(place for place, hook in HOOKS.items() if getattr(own, hook) is not getattr(default, hook))

    @property
    def identity(self) -> dict[str, Any]:
        """Its settings as they enter a condition's key: a file is told by its content, not by its name."""
        files = {
            name: hashlib.sha256(value.read_bytes()).hexdigest() for name, value in self if isinstance(value, Path)
        }
        return {**self.model_dump(mode="json"), **files}

    @cached_property
    def key(self) -> str:
        """The hash of its identity."""
        return content_hash(self.identity)

    def check(self, base: Checkpoint) -> None:
        """Raise an error that says how to mend it, where the base lacks what the defence needs; loads no weights.

        Called when a study is planned, and before anything is tuned.
        """

    def prepare_base(self, loaded: Loaded, seed: int) -> None:
        """Change the weights of the base (float32) in place, before it is tuned. Done once for one tuning."""

    def rows(self, rows: Sequence[Example], seed: int) -> list[Example]:
        """The training rows, which are not yet in the condition's template. Tuning shuffles them."""
        return list(rows)

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """What acts during tuning. `loaded` is the base as it will be tuned; copy what must stay as it is."""
        return TrainingHooks()

    def after(self, tuned: Loaded, base: Checkpoint, seed: int) -> None:
        """Change tuned weights (float32) in place: whole ones, also after LoRA, whose adapter is merged before.

        `base` is what they were tuned from. Called for each checkpoint.
        """

    def ask(self, template: Template, role: Literal["initial", "tuned"]) -> Template:
        """The template in which the tuned model is asked, and in which the initial model is asked beside it."""
        return template
