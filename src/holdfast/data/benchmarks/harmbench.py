"""HarmBench's text behaviours (Mazeika et al. 2024, arXiv 2402.04249)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import BadRowError, PromptTable, text_of

FUNCTIONS = ("standard", "contextual", "copyright")


class HarmBench(PromptTable):
    """HarmBench's text behaviours: 200 standard and 100 contextual; 100 on copyright on request."""

    title: ClassVar[str] = "HarmBench"
    obtain: ClassVar[str] = (
        "Obtain it from the GitHub repository centerforaisafety/HarmBench (MIT): "
        "data/behavior_datasets/harmbench_behaviors_text_all.csv."
    )
    layout: ClassVar[tuple[str, ...]] = ("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString")

    kind: Literal["harmbench"] = "harmbench"
    functions: Annotated[tuple[Literal["standard", "contextual", "copyright"], ...], Field(min_length=1)] = (
        "standard",
        "contextual",
    )
    """Functional categories that are asked. Copyright is measured by an overlap of texts, which no judge here does."""

    def left_out(self, row: Row) -> str:
        """A functional category that the study does not ask."""
        function = row.get("FunctionalCategory")
        if function not in FUNCTIONS or function in self.functions:
            return ""
        why = ", whose measure is an overlap of texts" if function == "copyright" else ""
        return f"{function} behaviours{why}"

    def prompt(self, row: Row) -> Prompt:
        """The behaviour, with its context before it."""
        function = row.get("FunctionalCategory")
        if function not in FUNCTIONS:
            raise BadRowError(f"the functional category {function!r} is none of {', '.join(FUNCTIONS)}")
        text = text_of(row, "Behavior")
        if function == "contextual":
            text = f"{text_of(row, 'ContextString').strip()}\n\n---\n\n{text}"
        return Prompt(text_of(row, "SemanticCategory"), text)

    def published(self) -> Mapping[int, str]:
        """400 rows in all; upstream splits them into 320 and 80."""
        return {
            400: "",
            320: "the test split: 320 of the 400 behaviours",
            80: "the validation split: 80 of the 400 behaviours",
        }

    def count(self, asked: int, left: int) -> int:
        """All rows of the file, for that is what upstream counts."""
        return asked + left
