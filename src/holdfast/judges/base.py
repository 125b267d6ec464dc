"""What a judge tells of its price and of how it is checked: for those that cost nothing, and for those that may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, NonNegativeFloat

from holdfast.core.config import File, Spec
from holdfast.core.protocols import Judge
from holdfast.core.types import Prompt
from holdfast.judges.cache import basis_of


class Priced(Spec):
    """What every judge tells of its price; nothing is to be paid unless it says so."""

    @property
    def paid(self) -> bool:
        """Whether verdicts cost something, so that they are kept and never bought twice."""
        return False

    @property
    def inner(self) -> tuple[Judge, ...]:
        """The judges that it asks in turn, which are booked and checked in its stead: none."""
        return ()

    def basis(self, policies: Mapping[str, str], prompt: Prompt) -> Any:
        """All that it can read beside the answer; a judge that reads more or less says so."""
        return basis_of(policies, prompt)

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """The most tokens and US dollars that a verdict on one answer of so many tokens to each prompt can take."""
        return 0, 0.0


class Unwatched(Priced):
    """A judge that nobody needs to watch."""

    canaries: ClassVar[Path | None] = None
    anchors: ClassVar[Path | None] = None
    max_drift: ClassVar[float] = 0.0


class Watched(Priced):
    """A judge that is watched. How it is checked changes no verdict, and is no part of its key."""

    canaries: File | None = Field(Path("pocket:canaries.jsonl"), exclude=True)
    """Answers that it must read rightly before it reads anything else; null for none."""
    anchors: File | None = Field(None, exclude=True)
    """Answers by which it is told whether it has changed since it first read them; its canaries if not given."""
    max_drift: NonNegativeFloat = Field(0.25, exclude=True)
    """Points by which its scores of the anchors may change on average, and the share of them that may change."""

    @property
    def paid(self) -> bool:
        """Yes."""
        return True
