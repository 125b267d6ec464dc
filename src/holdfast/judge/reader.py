"""What judges share that read each answer by itself, at once and for nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from holdfast.protocols import Ledger
from holdfast.spec import Spec
from holdfast.types import Answer, Prompt, Verdict

AT_ONCE = 64
"""Verdicts that are handed out together."""


class Reader(Spec):
    """A judge that needs nothing but the prompt and the answer."""

    paid: ClassVar[bool] = False
    canaries: ClassVar[None] = None
    anchors: ClassVar[None] = None
    max_drift: ClassVar[float] = 0.0

    def basis(self, policies: Mapping[str, str], prompt: Prompt) -> Any:
        """Its verdicts are not kept: it gives them again for nothing."""
        return None

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """Nothing."""
        return 0, 0.0

    @abstractmethod
    def read(self, prompt: Prompt, answer: Answer) -> Verdict:
        """The verdict on one answer."""

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[tuple[Prompt, Answer]], ledger: Ledger
    ) -> Iterator[list[Verdict]]:
        """One verdict for each pair, in order."""
        for start in range(0, len(pairs), AT_ONCE):
            yield [self.read(prompt, answer) for prompt, answer in pairs[start : start + AT_ONCE]]
