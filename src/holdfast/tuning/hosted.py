"""The settings of a provider's fine-tuning jobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt

from holdfast.core.config import Config
from holdfast.core.errors import TuningError
from holdfast.core.progress import OnStep
from holdfast.core.protocols import Defence
from holdfast.core.types import Checkpoint, Example, Tuned


class HostedTuner(Config):
    """A provider's fine-tuning jobs: settings are read and checked; this version cannot run them."""

    kind: Literal["hosted"] = "hosted"
    epochs: PositiveInt = 3
    batch_size: PositiveInt | None = None
    """The provider's choice if not given."""
    learning_rate_multiplier: PositiveFloat | None = None
    """The provider's choice if not given."""

    @property
    def run(self) -> dict[str, Any]:
        """The settings that determine a training run; a provider's schedule depends on all of its epochs."""
        return self.model_dump(mode="json")

    def steps(self, n_rows: int, epochs: int | None = None) -> int:
        """Optimizer steps that a number of rows takes, with one row a step where the provider chooses the batch."""
        return math.ceil(n_rows / (self.batch_size or 1)) * (epochs or self.epochs)

    def tune(
        self, base: Checkpoint, rows: Sequence[Example], seed: int, epochs: Sequence[int], folder: Path,
        on_step: OnStep, defences: Sequence[Defence] = (),
    ) -> dict[int, Tuned]:  # fmt: skip
        """Refuse.

        Raises:
            TuningError: always.
        """
        raise TuningError("this version cannot run hosted fine-tuning jobs; use `kind: local`.")
