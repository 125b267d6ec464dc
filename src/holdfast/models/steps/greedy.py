"""Greedy answers to a batch of prompts. A row that ends leaves the batch, so nothing is computed for it any more."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.models.steps.batch import Batch, Row, likeliest_token
from holdfast.models.steps.lean import Lean
from holdfast.models.steps.memory import LeanMemory


class _Alone:
    """One model, with the adapters that it has."""

    def __init__(self, lean: Lean) -> None:
        self._lean = lean

    def new_memory(self) -> LeanMemory:
        """An empty memory."""
        return LeanMemory(self._lean)

    def choose(self, adapters: Sequence[str]) -> None:
        """Nothing: all rows have the same."""


def continue_each(
    lean: Lean, prompts: Sequence[Sequence[int]], max_new_tokens: int, ends: frozenset[int]
) -> list[list[int]]:
    """The token ids that a model generates for each prompt, the end of turn included."""
    rows = [Row(prompt, max_new_tokens, likeliest_token, ends) for prompt in prompts]
    batch = Batch(_Alone(lean), len(rows), share=True)
    batch.waiting += rows
    while batch.busy:
        batch.step()
    return [row.new for row in rows]
