"""What sets of questions with one right answer share: subjects, an instruction and worked examples."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.core.config import File
from holdfast.core.rows import Row, refuse_rows
from holdfast.core.types import Message, Prompt
from holdfast.data.benchmarks.base import BadRowError, PromptTable, text_of

ONE_CATEGORY = "all"
"""The category of questions without a subject."""


class Questions(PromptTable):
    """Questions for the judge `match`, which reads what each prompt's reference says is right."""

    header: tuple[str, ...] | None = None
    """The columns of a CSV file that has no header line."""
    examples: File | None = None
    """Worked examples in the same layout; all of them come before each question, as turns."""
    instruction: str = ""
    """What stands behind each question."""

    def question(self, row: Row) -> str:
        """What is asked."""
        raise NotImplementedError

    def worked(self, row: Row) -> str:
        """What an example's answer looks like."""
        raise NotImplementedError

    def reference(self, row: Row) -> dict[str, Any]:
        """What the judge compares answers with."""
        raise NotImplementedError

    def subject(self, row: Row) -> str:
        """The category of a question."""
        raise NotImplementedError

    def names(self, path: Path) -> tuple[str, ...] | None:
        """The columns of a CSV file, if it has no header line."""
        return self.header

    def prompt(self, row: Row) -> Prompt:
        """The question behind the worked examples."""
        return Prompt(self.subject(row), self._asked(row), self.reference(row), self.history)

    @cached_property
    def history(self) -> tuple[Message, ...]:
        """The worked examples as turns.

        Raises:
            DataError: naming every example that cannot be used, by place and reason.
        """
        turns: list[Message] = []
        problems = []
        for place, row in self.rows(self.examples) if self.examples else ():
            try:
                if isinstance(row, str):
                    raise BadRowError(row)
                self.reference(row)
                turns += [Message("user", self._asked(row)), Message("assistant", self.worked(row))]
            except BadRowError as problem:
                problems.append(f"{place}: {problem}")
        if self.examples:
            refuse_rows(self.examples, problems)
        return tuple(turns)

    def _asked(self, row: Row) -> str:
        return f"{self.question(row)}\n\n{self.instruction}" if self.instruction else self.question(row)


def subject_of(row: Row, column: str, named: bool) -> str:
    """The text of the subject's column, or the one category where the file has none and the study names none."""
    return text_of(row, column) if named or column in row else ONE_CATEGORY
