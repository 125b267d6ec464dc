"""The settings of a provider's fine-tuning jobs, and the calls that a run makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from holdfast.core.budget import NoBudget
from holdfast.core.config import explained
from holdfast.core.errors import TuningError
from holdfast.core.progress import OnStep
from holdfast.core.protocols import Budget, Defence
from holdfast.core.types import Checkpoint, Example, NoCheckpoint, Tuned
from holdfast.models.endpoint import Connection
from holdfast.tuning.hosted import record, rendering
from holdfast.tuning.hosted.jobs import LIMITS


class HostedTuner(Connection):
    """A provider's fine-tuning jobs: OpenAI's API and whoever speaks it, or Mistral's."""

    kind: Literal["hosted"] = "hosted"
    provider: Literal["openai", "mistral"] = "openai"
    """Whose API the server speaks."""
    epochs: PositiveInt = 3
    batch_size: PositiveInt | None = None
    """The provider's choice if not given."""
    learning_rate_multiplier: PositiveFloat | None = None
    """OpenAI's way of saying the learning rate: times its own. The provider's choice if not given."""
    learning_rate: PositiveFloat | None = None
    """Mistral's way of saying it. The provider's choice if not given."""
    per_epoch: bool = False
    """Whether conditions that differ only in their epochs share one job, and each takes that epoch's checkpoint. Right
    only where the provider's schedule does not depend on the number of epochs; OpenAI keeps the last three."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the order, as the provider documents them."""
    price: NonNegativeFloat = Field(0.0, exclude=True)
    """US dollars for a million trained tokens, counted once an epoch. Leave it out where you do not know it."""
    poll_s: PositiveFloat = Field(10.0, exclude=True)
    """Seconds between two looks at a job."""

    @model_validator(mode="after")
    def _provider_takes(self) -> HostedTuner:
        allowed = LIMITS[self.provider].settings
        every = ("batch_size", "learning_rate_multiplier", "learning_rate", "per_epoch")
        if idle := [name for name in every if getattr(self, name) and name not in allowed]:
            takes = ", ".join(sorted(allowed))
            raise explained(
                f"jobs of the provider {self.provider!r} take no {idle[0]!r}; beside epochs they take {takes}"
            )
        return self

    @property
    def run(self) -> dict[str, Any]:
        """The settings that determine a training run; a provider's schedule can depend on all of its epochs."""
        settings = self.model_dump(mode="json", exclude_none=True)
        if self.per_epoch:
            del settings["epochs"]
        return settings

    def steps(self, n_rows: int, epochs: int | None = None) -> int:
        """Optimizer steps that a number of rows takes, with one row a step where the provider chooses the batch."""
        return math.ceil(n_rows / (self.batch_size or 1)) * (epochs or self.epochs)

    def row_faults(self, rows: Sequence[Example]) -> list[str]:
        """Why the provider would refuse these rows."""
        return rendering.faults(rows, LIMITS[self.provider])

    def worst_usd(self, rows: Sequence[Example]) -> float:
        """The most US dollars that a job can cost; 0 where no price is known."""
        return rendering.most_tokens(rows) * self.epochs * self.price / 1e6

    def tune(
        self, base: Checkpoint, rows: Sequence[Example], seed: int, epochs: Sequence[int], folder: Path,
        on_step: OnStep, defences: Sequence[Defence] = (), budget: Budget | None = None,
    ) -> dict[int, Tuned] | NoCheckpoint:  # fmt: skip
        """The checkpoints of a job; what an earlier call has uploaded, ordered or paid for is found again.

        The folder is named by the hash of all that determines the run, which the job carries.

        Raises:
            TuningError: rows that the provider would refuse, a request that it refuses, or an epoch that it kept no
                checkpoint of.
            ModelError: a provider that denies access or does not answer; the next call goes on.
            BudgetError: the job could cost more than the cap allows.
        """
        from holdfast.tuning.hosted.work import Ordered, Work

        if base.served is None:
            raise TuningError(f"{base.base} is on this machine; a provider tunes only models of its own.")
        if defences:
            names = ", ".join(defence.kind for defence in defences)
            raise TuningError(f"a provider lets nobody act on its weights, as these defences would: {names}.")
        if problems := self.row_faults(rows):
            raise TuningError("nothing was uploaded, because the provider would refuse it:\n  " + "\n  ".join(problems))
        ordered = Ordered(base, tuple(rows), seed, tuple(epochs), folder)
        with self.client() as client:
            return Work(self, client, ordered, on_step, budget or NoBudget()).done()

    def discard(self, folder: Path) -> dict[str, Any]:
        """Delete the uploaded rows, the tuned model and its checkpoints from the provider, and write that down.

        What cannot be deleted now is written down too, with the reason; the next run tries again.
        """
        from holdfast.tuning.hosted.work import discard

        return discard(self, folder)

    def keep(self, folder: Path) -> None:
        """Write down that rows and models are to stay with the provider."""
        if (found := record.read(folder)) and not found.kept:
            found.changed(folder, kept=True)

    def left(self, folder: Path) -> bool:
        """Whether the provider still has something that is to be deleted."""
        found = record.read(folder)
        return found is not None and not found.kept and found.ended and bool(found.remaining())
