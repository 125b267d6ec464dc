"""AdvBench (Zou et al. 2023, arXiv 2307.15043), and the copy of it that Qi et al. 2023 publish with their paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from holdfast.core.rows import Row, read_rows
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import PromptTable, text_of


class AdvBench(PromptTable):
    """AdvBench's 520 harmful behaviours, without categories (harmful_behaviors.csv, with or without a header line)."""

    title: ClassVar[str] = "AdvBench"
    obtain: ClassVar[str] = (
        "Obtain it from the GitHub repository llm-attacks/llm-attacks (MIT): data/advbench/harmful_behaviors.csv, with "
        "the columns goal and target; or from LLM-Tuning-Safety/LLMs-Finetuning-Safety: "
        "llama2/safety_evaluation/data/harmful_behaviors.csv, one column without a header line."
    )
    layout: ClassVar[tuple[str, ...]] = ("goal",)

    kind: Literal["advbench"] = "advbench"

    def names(self, path: Path) -> tuple[str, ...] | None:
        """The columns of a CSV file that has no header line: its first line is an instruction of several words."""
        for columns in (("goal",), ("goal", "target")):
            _, first = next(read_rows(path, columns))
            if isinstance(first, dict):
                return columns if " " in str(first.get("goal", "")).strip() else None
        return None

    def prompt(self, row: Row) -> Prompt:
        """The goal; the target is an attack's, so it is not used."""
        return Prompt(self.title, text_of(row, "goal"))

    def published(self) -> Mapping[int, str]:
        """520 prompts."""
        return {520: ""}
