"""Caps on what a run may cost and how long it may take."""

from __future__ import annotations

import time
from dataclasses import dataclass

from holdfast.core.errors import BudgetError
from holdfast.core.progress import Activity, Progress


@dataclass(frozen=True)
class Limits:
    """Caps on what a run may cost and how long it may take."""

    max_usd: float | None = None
    """US dollars that the run's folder may cost in all."""
    deadline: float | None = None
    """When nothing more is begun, on `time.monotonic`, which is one clock for all processes of a machine."""

    def checked(self, progress: Progress) -> Progress:
        """The progress of work that stops once the time is over."""
        return _UntilDeadline(progress, self.deadline)


@dataclass(frozen=True)
class _UntilDeadline:
    """Progress that stops the work once the time is over."""

    progress: Progress
    deadline: float | None

    def advance(self, units: int) -> None:
        self.progress.advance(units)
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise BudgetError(
                "the time that --max-hours allows is over. What was finished is kept; the same command goes on."
            )

    def show(self, activity: Activity) -> None:
        self.progress.show(activity)

    def note(self, text: str) -> None:
        self.progress.note(text)


NO_LIMITS = Limits()


def limits(max_usd: float | None, max_hours: float | None) -> Limits:
    """The caps of a run; its hours are counted from now."""
    return Limits(max_usd, None if max_hours is None else time.monotonic() + max_hours * 3600)
