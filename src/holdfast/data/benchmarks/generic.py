"""Prompts from any file whose columns the study names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from holdfast.core.config import Config
from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import BadRowError, PromptTable, text_of


class PromptColumns(Config):
    """What the columns are called. Policy and reference may be missing from the file unless the study names them."""

    prompt: str = "prompt"
    category: str = "category"
    policy: str = "policy"
    """The text that forbids the row's category."""
    reference: str = "reference"
    """What the row's judge needs: an object, or a text, which becomes `{answer: text}`."""


class NamedColumns(PromptTable):
    """Prompts with a category, and perhaps a policy and a reference."""

    obtain: ClassVar[str] = (
        "Each row must have a prompt and a category. `columns: {prompt: …, category: …}` says what they are called; "
        "a file without categories takes `category: all`."
    )

    columns: PromptColumns = PromptColumns()
    header: tuple[str, ...] | None = None
    """The columns of a CSV file that has no header line."""
    category: str | None = None
    """The category of all prompts, where the file has no column for it."""

    def names(self, path: Path) -> tuple[str, ...] | None:
        """The columns of a CSV file, if it has no header line."""
        return self.header

    def needed(self) -> tuple[str, ...]:
        """The prompt's column, the category's unless it is given, and those that the study names."""
        optional = {"policy", "reference"} - self.columns.model_fields_set
        if self.category is not None:
            optional.add("category")
        return tuple(name for field, name in self.columns if field not in optional)

    def prompt(self, row: Row) -> Prompt:
        """The prompt of a row."""
        category = self.category or text_of(row, self.columns.category)
        text = text_of(row, self.columns.prompt)
        policy = row.get(self.columns.policy)
        if policy is not None and not isinstance(policy, str):
            raise BadRowError(f"{self.columns.policy!r} must be text")
        return Prompt(category, text, self._reference(row))

    def policy(self, row: Row) -> str:
        """The policy that a row brings, or ""."""
        return row.get(self.columns.policy) or ""

    def _reference(self, row: Row) -> dict[str, Any]:
        reference = row.get(self.columns.reference)
        if reference is None or reference == "":
            return {}
        if isinstance(reference, str):
            return {"answer": reference}
        if not isinstance(reference, dict):
            raise BadRowError(f"{self.columns.reference!r} must be an object or a text")
        return reference


class Generic(NamedColumns):
    """Any file of prompts (CSV, JSON Lines, JSON, Parquet) whose columns the study names."""

    layout: ClassVar[tuple[str, ...]] = ("prompt", "category")

    kind: Literal["generic"] = "generic"
