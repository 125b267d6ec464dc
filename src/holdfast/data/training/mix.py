"""Several data sources in one training set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from holdfast.core.config import Spec, explained, one_of
from holdfast.core.protocols import Source
from holdfast.core.types import Account, Example
from holdfast.data.training import SOURCES
from holdfast.data.training.draw import draw

if not TYPE_CHECKING:
    Source = one_of(SOURCES)


class Part(Spec):
    """One source of a mix: all of its rows, `n` of them, or as many as make up a `share` of the whole."""

    data: Source
    n: PositiveInt | None = None
    share: float | None = Field(None, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _either(self) -> Part:
        if self.n is not None and self.share is not None:
            raise explained("a part of a mix is counted by `n` or by `share`, not by both")
        return self


class Mix(Spec):
    """Rows of several sources by count or by share, drawn by seed; tuning shuffles them."""

    kind: Literal["mix"] = "mix"
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _leaves_room(self) -> Mix:
        if sum(part.share or 0.0 for part in self.parts) >= 1.0:
            raise explained("the shares of a mix must sum to less than 1; the parts without a share make up the rest")
        return self

    def examples(self, seed: int) -> list[Example]:
        """The rows of one seed, part after part.

        Raises:
            DataError: bad rows, by place and reason; or a source with fewer rows than are to be drawn.
        """
        rows = [part.data.examples(seed) for part in self.parts]
        counts = [part.n or len(found) for part, found in zip(self.parts, rows, strict=True)]
        counted = sum(n for part, n in zip(self.parts, counts, strict=True) if part.share is None)
        whole = counted / (1.0 - sum(part.share or 0.0 for part in self.parts))
        mixed: list[Example] = []
        for part, found, n in zip(self.parts, rows, counts, strict=True):
            wanted = round(part.share * whole) if part.share else n
            mixed += (
                draw(found, wanted, seed, f"the {part.data.kind} part of the mix") if wanted != len(found) else found
            )
        return mixed

    def accounts(self) -> list[Account]:
        """What became of the rows of every part."""
        return [account for part in self.parts for account in part.data.accounts()]
