"""JailbreakBench's behaviours (Chao et al. 2024, arXiv 2404.01318)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from holdfast.core.errors import DataError
from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import PromptTable, text_of


class JailbreakBench(PromptTable):
    """JailbreakBench: 100 harmful behaviours in 10 categories, or 100 benign ones, for over-refusal."""

    title: ClassVar[str] = "JailbreakBench"
    obtain: ClassVar[str] = (
        "Obtain it from the Hub data set JailbreakBench/JBB-Behaviors (MIT): data/harmful-behaviors.csv for "
        "`split: harmful`, data/benign-behaviors.csv for `split: benign`."
    )
    layout: ClassVar[tuple[str, ...]] = ("Goal", "Behavior", "Category", "Source")

    kind: Literal["jailbreakbench"] = "jailbreakbench"
    split: Literal["harmful", "benign"] = "harmful"

    def rows(self, path: Path) -> list[tuple[str, Row | str]]:
        """Each row with its place. The two files are alike but for their sources: only harmful ones are borrowed."""
        rows = super().rows(path)
        sources = {str(row.get("Source")) for _, row in rows if isinstance(row, dict)}
        borrowed = any("AdvBench" in source or "HarmBench" in source for source in sources)
        if rows and borrowed != (self.split == "harmful") and not self.allow_partial:
            other = "harmful" if borrowed else "benign"
            raise DataError(f"{path} looks like the file of `split: {other}`, by its column 'Source'. {self.obtain}")
        return rows

    def prompt(self, row: Row) -> Prompt:
        """The goal."""
        return Prompt(text_of(row, "Category"), text_of(row, "Goal"))

    def published(self) -> Mapping[int, str]:
        """100 prompts in each file."""
        return {100: ""}
