"""Where the tasks of a run tell what they did, and ask what they may spend. It lives on the machine of the run.

Tasks keep what they make in folders of their own, and send each new line here. The run takes it from here and is the
only one that writes into the run folder. So no two machines write one file, and a task that is lost loses seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.budget import FileBudget
from holdfast.core.errors import BudgetError
from holdfast.core.progress import Activity

Place = tuple[str, str]
"""A file of a condition: the condition's key, and the file's name."""


@dataclass(frozen=True)
class Told:
    """What a task tells: its progress, and what it has made since the last time."""

    units: int = 0
    activity: Activity | None = None
    notes: tuple[str, ...] = ()
    lines: dict[Place, bytes] = field(default_factory=dict)
    """New lines of files that grow."""
    files: dict[Place, bytes] = field(default_factory=dict)
    """Files that are written as a whole."""
    machine: str = ""
    """Its name; told first."""


class Desk:
    """An actor: one for each run."""

    def __init__(self, spending: str, max_usd: float | None, deadline: float | None) -> None:
        """`deadline`: as in `Limits`, on the clock of the run's machine."""
        self.deadline = deadline
        self.spending, self.max_usd = Path(spending), max_usd
        self.budgets: dict[str, FileBudget] = {}
        self.told: list[tuple[int, Told]] = []
        self.is_open = True

    def tell(self, attempt: int, told: Told) -> tuple[bool, float | None]:
        """Take what an attempt at a piece tells; whether the run goes on, and seconds until nothing more is begun."""
        self.told.append((attempt, told))
        return self.is_open, None if self.deadline is None else self.deadline - time.monotonic()

    def take(self) -> list[tuple[int, Told]]:
        """Give the run what was told since it last asked."""
        told, self.told = self.told, []
        return told

    def close(self) -> None:
        """From now on tasks are told to end."""
        self.is_open = False

    def reserve(self, stage: str, usd: float, what: str) -> tuple[str, str]:
        """A ticket, and why there is none."""
        try:
            return self._budget(stage).reserve(usd, what), ""
        except BudgetError as error:
            return "", str(error)

    def settle(self, stage: str, ticket: str, usd: float) -> None:
        """Put what it did cost in place of what was set aside."""
        self._budget(stage).settle(ticket, usd)

    def _budget(self, stage: str) -> FileBudget:
        if stage not in self.budgets:
            self.budgets[stage] = FileBudget(self.spending, self.max_usd, stage)
        return self.budgets[stage]


class DeskBudget:
    """The budget of a run as its tasks know it: they ask the desk, where it is kept under one cap."""

    def __init__(self, desk: Any, stage: str = "") -> None:
        self.desk, self.stage = desk, stage

    def of(self, stage: str) -> DeskBudget:
        """The same budget, for what one stage spends."""
        return DeskBudget(self.desk, stage)

    def reserve(self, usd: float, what: str) -> str:
        """Set aside what something can cost at most, before it is bought; returns a ticket.

        Raises:
            BudgetError: the cap does not allow it.
        """
        import ray

        ticket, why_not = ray.get(self.desk.reserve.remote(self.stage, usd, what))
        if why_not:
            raise BudgetError(why_not)
        return str(ticket)

    def settle(self, ticket: str, usd: float) -> None:
        """Put what it did cost in place of what was set aside."""
        import ray

        ray.get(self.desk.settle.remote(self.stage, ticket, usd))
