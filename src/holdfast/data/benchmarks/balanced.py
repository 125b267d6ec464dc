"""Another benchmark's prompts in a seeded order in which every beginning holds each category about equally often."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Annotated, Literal

from pydantic import NonNegativeInt, PositiveInt

from holdfast.core.config import Config, OneOf
from holdfast.core.protocols import BenchmarkSource
from holdfast.core.types import Benchmark, Prompt
from holdfast.data.benchmarks import BENCHMARKS


class Balanced(Config):
    """Another benchmark's prompts, shuffled by a seed with each category equally often; all, or so many."""

    kind: Literal["balanced"] = "balanced"
    of: Annotated[BenchmarkSource, OneOf(BENCHMARKS)]
    seed: NonNegativeInt = 0
    take: PositiveInt | None = None
    """How many prompts; all if not given."""

    def load(self) -> Benchmark:
        """The prompts in the order in which a sequential audit asks them."""
        whole = self.of.load()
        prompts = in_balance(whole.prompts, self.seed)[: self.take]
        some = len(prompts) < len(whole.prompts)
        note = (
            (f"{len(prompts)} of {len(whole.prompts)} prompts, drawn in balance by seed {self.seed}",) if some else ()
        )
        return replace(whole, prompts=prompts, notes=(*whole.notes, *note))


def in_balance(prompts: tuple[Prompt, ...], seed: int) -> tuple[Prompt, ...]:
    """Prompts in rounds: each round has one of each category that has any left, in an order drawn for the round."""
    drawn = random.Random(seed)
    by_category: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_category.setdefault(prompt.category, []).append(prompt)
    for group in by_category.values():
        drawn.shuffle(group)
    rounds = [[prompt for prompt in group if prompt] for group in zip_longest(*by_category.values())]
    for group in rounds:
        drawn.shuffle(group)
    return tuple(chain.from_iterable(rounds))
