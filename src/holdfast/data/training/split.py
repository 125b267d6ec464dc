"""One source in two parts: rows to tune on, and rows that are held out to see whether the task was learnt."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.core.config import Config
from holdfast.core.errors import DataError
from holdfast.core.types import Account, Example
from holdfast.data.training.draw import RowPool, names


class Split(Config):
    """A part of another source: what is `tuned` on, or what is `held-out`. The two share no row, whatever the seed.

    Which part a row is in depends on its content alone, so equal rows stay together.
    """

    kind: Literal["split"] = "split"
    data: RowPool
    """A file of `messages`, or any source."""
    part: Literal["tuned", "held-out"]
    share: float = Field(0.1, gt=0.0, lt=1.0)
    """The share of the distinct rows that is held out."""

    @property
    def attack(self) -> bool:
        """Whether its rows come from a source that is made to undo a model's safety."""
        return self.data.attack

    def examples(self, seed: int) -> list[Example]:
        """The part's rows, in the source's order.

        Raises:
            DataError: bad rows, by place and reason; or fewer than two distinct ones.
        """
        rows = self.data.examples(seed)
        distinct = sorted({row.id for row in rows})
        if len(distinct) < 2:
            raise DataError(f"{names(self.data)} has {len(distinct)} distinct rows, so none can be held out.")
        n = min(max(1, round(self.share * len(distinct))), len(distinct) - 1)
        held_out = set(distinct[:n])
        return [row for row in rows if (row.id in held_out) == (self.part == "held-out")]

    def accounts(self) -> list[Account]:
        """What became of the rows of the source."""
        return self.data.accounts()
