"""OR-Bench (Cui et al. 2024, arXiv 2405.20947)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import PromptTable, text_of

SIZES = {"80k": 80_359, "hard-1k": 1_319, "toxic": 655}


class OrBench(PromptTable):
    """OR-Bench: 80,359 safe prompts that look toxic or the 1,319 hard ones, for over-refusal; or 655 toxic ones."""

    title: ClassVar[str] = "OR-Bench"
    obtain: ClassVar[str] = (
        "Obtain it from the Hub data set bench-llm/or-bench (CC BY 4.0): or-bench-80k.csv, or-bench-hard-1k.csv "
        "or or-bench-toxic.csv, as `subset` says."
    )
    layout: ClassVar[tuple[str, ...]] = ("prompt", "category")

    kind: Literal["or-bench"] = "or-bench"
    subset: Literal["80k", "hard-1k", "toxic"] = "hard-1k"
    """80k and hard-1k are safe prompts; toxic ones ought to be refused."""

    def prompt(self, row: Row) -> Prompt:
        """The prompt."""
        return Prompt(text_of(row, "category"), text_of(row, "prompt"))

    def published(self) -> Mapping[int, str]:
        """The size of the subset."""
        return {SIZES[self.subset]: ""}

    def difference(self, prompts: Iterable[Prompt], count: int) -> str:
        """Whether it has the size of another subset."""
        other = next((subset for subset, size in SIZES.items() if size == count and subset != self.subset), None)
        return f"`subset: {other}` has that number" if other else ""
