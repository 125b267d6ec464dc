"""The calls that a run makes of a provider's fine-tuning jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.core.budget import NoBudget
from holdfast.core.errors import TuningError
from holdfast.core.progress import OnStep
from holdfast.core.protocols import Budget, Defence
from holdfast.core.types import Checkpoint, Example, NoCheckpoint, Tuned
from holdfast.tuning.hosted import record, rendering
from holdfast.tuning.hosted.jobs import LIMITS
from holdfast.tuning.hosted.settings import HostedSettings


class HostedTuner(HostedSettings):
    """A provider's fine-tuning jobs: OpenAI's API and whoever speaks it, or Mistral's."""

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
