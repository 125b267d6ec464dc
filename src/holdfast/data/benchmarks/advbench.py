"""AdvBench (Zou et al. 2023, arXiv 2307.15043)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import PromptTable, text_of


class AdvBench(PromptTable):
    """AdvBench's 520 harmful behaviours, without categories (harmful_behaviors.csv: goal, target)."""

    title: ClassVar[str] = "AdvBench"
    obtain: ClassVar[str] = (
        "Obtain it from the GitHub repository llm-attacks/llm-attacks (MIT): data/advbench/harmful_behaviors.csv."
    )
    layout: ClassVar[tuple[str, ...]] = ("goal", "target")

    kind: Literal["advbench"] = "advbench"

    def prompt(self, row: Row) -> Prompt:
        """The goal; the target is an attack's, so it is not used."""
        return Prompt(self.title, text_of(row, "goal"))

    def published(self) -> Mapping[int, str]:
        """520 prompts."""
        return {520: ""}
