"""StrongREJECT (Souly et al. 2024, arXiv 2402.10260)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import PromptTable, text_of


class StrongReject(PromptTable):
    """StrongREJECT's 313 forbidden prompts in 6 categories, or its small set of 60."""

    title: ClassVar[str] = "StrongREJECT"
    obtain: ClassVar[str] = (
        "Obtain it from the GitHub repository alexandrasouly/strongreject (MIT): strongreject_dataset/"
        "strongreject_dataset.csv, or strongreject_small_dataset.csv for the small set."
    )
    layout: ClassVar[tuple[str, ...]] = ("category", "source", "forbidden_prompt")

    kind: Literal["strongreject"] = "strongreject"

    def prompt(self, row: Row) -> Prompt:
        """The forbidden prompt."""
        return Prompt(text_of(row, "category"), text_of(row, "forbidden_prompt"))

    def published(self) -> Mapping[int, str]:
        """313 prompts, or 60 in the small set."""
        return {313: "", 60: "the small set: 60 of the 313 prompts"}
