"""Progress with time left, on a terminal and elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from holdfast.core.types import Condition


class Watch:
    """Progress with time left: a bar on a terminal, elsewhere a line for each piece that is finished."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.total = self.done = 0
        self.started: float | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def begin(self, total: int) -> None:
        """Show that there are so many units of work."""
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.total, self.started = total, time.monotonic()
        if not self.console.is_terminal:
            return
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
            TextColumn("· left"), TimeRemainingColumn(), console=self.console, transient=True,
        )  # fmt: skip
        self.task = self.bar.add_task("Loading", total=total)
        self.bar.start()

    def advance(self, units: int) -> None:
        """Show that so many more are done."""
        self.done += units
        if self.bar:
            self.bar.update(self.task, advance=units, description="At work")

    def finished(self, conditions: Sequence[Condition]) -> None:
        """Name what is complete."""
        names = ", ".join(f"{condition.name} (seed {condition.seed})" for condition in conditions)
        self.note(f"finished {names}")

    def note(self, text: str) -> None:
        """Print a line; once the work has begun, with the time gone and left."""
        if self.started is None:
            self.console.print(text, soft_wrap=True, markup=False)
            return
        gone = time.monotonic() - self.started
        left = gone / self.done * (self.total - self.done) if self.done else 0.0
        self.console.print(f"{clock(gone)} gone, about {clock(left)} left: {text}", style="dim")


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
