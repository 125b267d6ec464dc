"""What a run spends, in US dollars, and the cap that it keeps. Money is set aside before anything is bought."""

from __future__ import annotations

import math
import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeGuard

from filelock import FileLock

from holdfast.core.errors import BudgetError, RunFolderError
from holdfast.core.jsonl import Tail, append_lines

MOST_USD = 1e9
"""A booking of more is none."""


class FileBudget:
    """A budget that several processes share, and that outlives them: one line of JSON a booking.

    What was set aside and never settled, because the process was killed, counts as spent: it may have been.
    """

    def __init__(self, path: Path, max_usd: float | None = None, stage: str = "") -> None:
        self.path, self.max_usd, self.stage = path, max_usd, stage
        self._tail = Tail(path)
        self._booked: dict[str, float] = {}
        self._stages: dict[str, str] = {}

    def of(self, stage: str) -> FileBudget:
        """The same budget, for what one stage of the run spends."""
        return FileBudget(self.path, self.max_usd, stage)

    def by_stage(self) -> dict[str, float]:
        """US dollars spent or set aside by stage; "" for what no stage is named for."""
        self._catch_up()
        each: dict[str, list[float]] = {}
        for ticket, usd in self._booked.items():
            each.setdefault(self._stages.get(ticket, ""), []).append(usd)
        return {stage: math.fsum(amounts) for stage, amounts in each.items()}

    @property
    def spent(self) -> float:
        """US dollars spent or set aside."""
        self._catch_up()
        return sum(self._booked.values())

    def reserve(self, usd: float, what: str) -> str:
        """Set aside what something can cost at most, before it is bought; returns a ticket.

        Raises:
            BudgetError: the cap does not allow it.
        """
        ticket = uuid.uuid4().hex[:12]
        if usd <= 0:
            return ticket
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._exclusive():
            spent = self.spent
            if self.max_usd is not None and spent + usd > self.max_usd:
                raise BudgetError(
                    f"{what} can cost ${usd:.4f}, but ${spent:.4f} of the cap of ${self.max_usd:.2f} is spent. What "
                    "was finished is kept; raise --max-usd and run the same command again to go on."
                )
            self._write(ticket, usd, what)
        return ticket

    def settle(self, ticket: str, usd: float) -> None:
        """Put what it did cost in place of what was set aside."""
        if not self.path.is_file():
            return
        with self._exclusive():
            self._catch_up()
            if ticket in self._booked:
                self._write(ticket, usd, "settled")

    def _exclusive(self) -> AbstractContextManager[object]:
        """A lock that all processes share. It is a file beside the budget: Windows lets nobody read a locked one."""
        return FileLock(self.path.with_name(f".{self.path.name}.lock")).acquire(poll_interval=0.005)

    def _write(self, ticket: str, usd: float, what: str) -> None:
        booking = {"ticket": ticket, "usd": usd, "what": what, **({"stage": self.stage} if self.stage else {})}
        append_lines(self.path, [booking])

    def _catch_up(self) -> None:
        for row in self._tail.rows():
            booking = row or {}
            ticket, usd, stage = booking.get("ticket"), booking.get("usd"), booking.get("stage", "")
            if not isinstance(ticket, str) or not isinstance(stage, str) or not _is_amount(usd):
                found = str(row)[:200] if row else "it is damaged"
                raise RunFolderError(
                    f"{self.path} holds a line that is no booking: {found}. Delete the line, if you know "
                    "that nothing was paid for it, or put its amount in US dollars behind `usd`."
                )
            self._booked[ticket] = usd
            self._stages.setdefault(ticket, stage)


def _is_amount(usd: Any) -> TypeGuard[float]:
    return type(usd) in (int, float) and 0 <= usd < MOST_USD


class NoBudget:
    """The budget of work that costs nothing."""

    def reserve(self, usd: float, what: str) -> str:
        """Refuse nothing; nothing is kept."""
        return ""

    def settle(self, ticket: str, usd: float) -> None:
        """Keep nothing."""
