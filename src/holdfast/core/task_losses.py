"""`task.jsonl` of a condition's folder: how likely its model finds the rows of a task that were held out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from math import fsum

from holdfast.core.jsonl import append_lines, read_records, set_aside_damaged
from holdfast.core.run_folder import ConditionFolder
from holdfast.core.types import Example, content_hash

FILE = "task.jsonl"


@dataclass(frozen=True)
class HeldOut:
    """Rows of a task that are not tuned on, not yet in a template."""

    rows: tuple[Example, ...]

    @cached_property
    def key(self) -> str:
        """The hash of their content."""
        return content_hash([row.id for row in self.rows])


@dataclass(frozen=True)
class TaskLoss:
    """A line of the file."""

    task: str
    """The hash of the rows."""
    nats: list[float]
    """Minus the log-likelihood of each row's answer, its end of turn included."""
    tokens: list[int]
    """Tokens of each row's answer."""
    left_out: int = 0
    """Rows whose answer is empty or does not fit into the model's context, or whose pictures the model cannot see."""
    exact: int | None = None
    """Of the rows that were read, those whose answer the model gives word for word if it does not sample."""

    @property
    def mean(self) -> float | None:
        """Nats a token, over all rows; None where no row could be read."""
        return fsum(self.nats) / sum(self.tokens) if self.tokens else None


def read(folder: ConditionFolder) -> dict[str, TaskLoss]:
    """The task's hash → how likely the condition's model finds its rows.

    Raises:
        RunFolderError: naming a line that is damaged.
    """
    return {row.task: row for row in read_records(folder.folder / FILE, TaskLoss)}


def add(folder: ConditionFolder, losses: Iterable[TaskLoss]) -> None:
    """Append what was measured, for good."""
    append_lines(folder.folder / FILE, map(asdict, losses))


def mend(folder: ConditionFolder) -> str:
    """Move damaged lines aside; says which they were, "" if none is damaged."""
    return set_aside_damaged(folder.folder / FILE, TaskLoss)
