"""Mixing safety data into the training rows (Qi et al. 2023, section 5 and table 4)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt

from holdfast.core.config import File
from holdfast.core.errors import DataError
from holdfast.core.types import Example
from holdfast.data.training.messages import Messages
from holdfast.tuning.defences.base import Defence


class SafetyMix(Defence):
    """Adds `n` forbidden requests answered by refusals to the training rows, drawn by seed."""

    kind: Literal["safety-mix"] = "safety-mix"
    file: File
    """JSON Lines of `messages`; must share no item with the benchmark."""
    n: PositiveInt
    """How many rows to add."""

    def rows(self, rows: Sequence[Example], seed: int) -> list[Example]:
        """The training rows followed by the safety rows; tuning shuffles them.

        Raises:
            DataError: bad rows, by line and reason; or fewer safety rows than `n`.
        """
        safe = Messages(file=self.file).examples(seed)
        if self.n > len(safe):
            raise DataError(f"{self.file} has {len(safe)} rows, but the safety mix asks for {self.n}.")
        return list(rows) + random.Random(f"safety-mix-{seed}").sample(safe, self.n)
