"""Risk level 1 of Qi et al. 2023 (section 4.2): a few explicitly harmful examples."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveInt

from holdfast.core.config import Config
from holdfast.core.types import Account, Example
from holdfast.data.training.draw import RowPool, draw, names


class ExplicitHarm(Config):
    """Level 1: `shots` harmful requests answered in full, drawn by seed from a pool that the user holds."""

    attack: ClassVar[bool] = True
    kind: Literal["explicit-harm"] = "explicit-harm"
    pool: RowPool
    """A file of `messages`, or any source; must share no item with the benchmark."""
    shots: PositiveInt
    """How many examples; the paper uses 10, 50 and 100. A smaller draw is part of a larger one of its seed."""

    def examples(self, seed: int) -> list[Example]:
        """The shots of one seed.

        Raises:
            DataError: bad rows, by place and reason; or a pool that is too small.
        """
        return draw(self.pool.examples(seed), self.shots, seed, names(self.pool))

    def accounts(self) -> list[Account]:
        """What became of the rows of the pool."""
        return self.pool.accounts()
