"""What judges share that read each answer by itself, at once and for nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from holdfast.core.protocols import Ledger
from holdfast.core.types import Answer, Prompt, Verdict
from holdfast.judges.base import Unwatched

AT_ONCE = 64
"""Verdicts that are handed out together."""


class Reader(Unwatched):
    """A judge that needs nothing but the prompt and the answer."""

    @abstractmethod
    def read(self, prompt: Prompt, answer: Answer) -> Verdict:
        """The verdict on one answer."""

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[tuple[Prompt, Answer]], ledger: Ledger
    ) -> Iterator[list[Verdict]]:
        """One verdict for each pair, in order."""
        for start in range(0, len(pairs), AT_ONCE):
            yield [self.read(prompt, answer) for prompt, answer in pairs[start : start + AT_ONCE]]
