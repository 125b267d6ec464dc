"""Several data sources in one training set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from holdfast.core.config import Config, explained
from holdfast.core.types import Account, Example
from holdfast.data.training.draw import AnySource, draw


class Part(Config):
    """One source of a mix: all of its rows, `n` of them, or as many as make up a `share` of the whole."""

    data: AnySource
    n: PositiveInt | None = None
    share: float | None = Field(None, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _either(self) -> Part:
        if self.n is not None and self.share is not None:
            raise explained("a part of a mix is counted by `n` or by `share`, not by both")
        return self


class Mix(Config):
    """Rows of several sources by count or by share, drawn by seed; tuning shuffles them."""

    kind: Literal["mix"] = "mix"
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _leaves_room(self) -> Mix:
        if sum(part.share or 0.0 for part in self.parts) >= 1.0:
            raise explained("the shares of a mix must sum to less than 1; the parts without a share make up the rest")
        return self

    @property
    def attack(self) -> bool:
        """Whether the rows of a part are made to undo a model's safety."""
        return any(part.data.attack for part in self.parts)

    def examples(self, seed: int) -> list[Example]:
        """The rows of one seed, part after part.

        Raises:
            DataError: bad rows, by place and reason; or a source with fewer rows than are to be drawn.
        """
        sources = [part.data.examples(seed) for part in self.parts]
        n_counted = sum(part.n or len(rows) for part, rows in zip(self.parts, sources, strict=True) if not part.share)
        n_all = n_counted / (1.0 - sum(part.share or 0.0 for part in self.parts))
        mixed: list[Example] = []
        for part, rows in zip(self.parts, sources, strict=True):
            n = round(part.share * n_all) if part.share else part.n or len(rows)
            mixed += rows if n == len(rows) else draw(rows, n, seed, f"the {part.data.kind} part of the mix")
        return mixed

    def accounts(self) -> list[Account]:
        """What became of the rows of every part."""
        return [account for part in self.parts for account in part.data.accounts()]
