"""What judges share whose verdicts cost something: they are never bought twice, and checked before they are bought."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, NonNegativeFloat

from holdfast.book import basis_of
from holdfast.spec import File, Spec
from holdfast.types import Prompt


class Paid(Spec):
    """A judge whose verdicts cost something. How it is checked changes no verdict, and is no part of its key."""

    paid: ClassVar[bool] = True

    canaries: File | None = Field(Path("pocket:canaries.jsonl"), exclude=True)
    """Answers that it must read rightly before it is paid for anything else; null for none."""
    anchors: File | None = Field(None, exclude=True)
    """Answers by which it is told whether it has changed since it first read them; its canaries if not given."""
    max_drift: NonNegativeFloat = Field(0.25, exclude=True)
    """Points by which its scores of the anchors may change on average, and the share of them that may change."""

    def basis(self, policies: Mapping[str, str], prompt: Prompt) -> Any:
        """All that it can read beside the answer; a judge that reads more or less says so."""
        return basis_of(policies, prompt)

    @abstractmethod
    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """The most tokens and US dollars that a verdict on one answer of so many tokens to each prompt can take."""
