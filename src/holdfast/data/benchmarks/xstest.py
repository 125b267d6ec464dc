"""XSTest (Röttger et al. 2024, NAACL 2024, arXiv 2308.01263)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import BadRowError, PromptTable, text_of

CONTRAST = "contrast_"
"""What the types of unsafe prompts start with."""


class XSTest(PromptTable):
    """XSTest's 250 safe prompts that look unsafe, for over-refusal; its 200 unsafe contrasts on request."""

    title: ClassVar[str] = "XSTest"
    obtain: ClassVar[str] = (
        "Obtain it from the GitHub repository paul-rottger/xstest or the Hub data set Paul/XSTest (CC BY 4.0): "
        "xstest_prompts.csv."
    )
    layout: ClassVar[tuple[str, ...]] = ("prompt", "type")

    kind: Literal["xstest"] = "xstest"
    label: Literal["safe", "unsafe", "all"] = "safe"

    def left_out(self, row: Row) -> str:
        """A label that the study does not ask."""
        label = _label(row)
        return "" if self.label == "all" or label not in ("safe", "unsafe") or label == self.label else f"{label} ones"

    def prompt(self, row: Row) -> Prompt:
        """The prompt, with its type for category."""
        if _label(row) not in ("safe", "unsafe"):
            raise BadRowError(f"the label {row['label']!r} is neither safe nor unsafe")
        return Prompt(text_of(row, "type"), text_of(row, "prompt"))

    def published(self) -> Mapping[int, str]:
        """250 safe and 200 unsafe prompts."""
        return {{"safe": 250, "unsafe": 200, "all": 450}[self.label]: ""}


def _label(row: Row) -> str:
    """The label of a row; older files have none, and tell by the type."""
    if "label" in row:
        return str(row["label"])
    return "unsafe" if str(row.get("type")).startswith(CONTRAST) else "safe"
