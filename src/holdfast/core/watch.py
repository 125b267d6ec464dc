"""Progress with time left, on a terminal and elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.core.progress import Activity, clock

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.progress import Progress

    from holdfast.core.protocols import Watcher
    from holdfast.core.terminal import Terminal
    from holdfast.core.types import Condition

LINES_EVERY = 30.0
"""Seconds between two times that the work under way is told where the output is no terminal."""

SHARE_TO_JUDGE_BY = 0.005
"""Of the work: as long as no more is done, loading took most of the time, and nothing is said of the time left."""


class Watch:
    """Progress with time left.

    On a terminal, a bar for the whole and a line for each worker; elsewhere, a line for each piece that is finished,
    and now and then one for each worker.
    """

    def __init__(self, console: Terminal) -> None:
        self.console = console
        self.live: Live | None = None
        self.bar: Progress | None = None
        self.activities: dict[int, Activity] = {}
        """What is going on, by piece of work."""
        self.total = self.done = 0
        self.started: float | None = None
        self.last_lines = 0.0

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def begin(self, total: int) -> None:
        """Show that there are so many units of work. What was begun before has ended."""
        if self.live:
            self.live.stop()
        self.total, self.done, self.started = total, 0, time.monotonic()
        self.last_lines = self.started
        if self.console.is_terminal:
            from rich.live import Live

            self.bar = _bar(self.console)
            self.task = self.bar.add_task("Loading", total=total)
            self.live = Live(get_renderable=self._shown, console=self.console, transient=True)
            self.live.start()

    def advance(self, units: int) -> None:
        """Show that so many more are done."""
        self.done += units
        if self.bar:
            self.bar.update(self.task, advance=units, description="At work")

    def show(self, piece: int, activity: Activity | None) -> None:
        """Show what a piece of work is doing now; None once it has ended."""
        if activity is None:
            self.activities.pop(piece, None)
            return
        self.activities[piece] = activity
        now = time.monotonic()
        if not self.live and self.started is not None and now - self.last_lines >= LINES_EVERY:
            self.last_lines = now
            for line in self.activities.values():
                self.note(str(line))

    def finished(self, conditions: Sequence[Condition]) -> None:
        """Name what is complete."""
        names = ", ".join(f"{condition.name} (seed {condition.seed})" for condition in conditions)
        self.note(f"finished {names}")

    def note(self, text: str) -> None:
        """Print a line; once the work has begun, with the time gone and left."""
        if self.started is None:
            self.console.print(text, soft_wrap=True)
            return
        gone = time.monotonic() - self.started
        known = self.done > SHARE_TO_JUDGE_BY * self.total
        left = f"about {clock(gone / self.done * (self.total - self.done))}" if known else "unknown time"
        line = f"{clock(gone)} gone, {left} left: {text}"
        self.console.print(line, style="dim", soft_wrap=True)

    def _shown(self) -> RenderableType:
        """The bar, and what is going on."""
        from rich.console import Group
        from rich.text import Text

        lines = [Text(f"  {activity}", style="dim", no_wrap=True, overflow="ellipsis")
                 for _, activity in sorted(self.activities.items())]  # fmt: skip
        return Group(*([self.bar] if self.bar else []), *lines)


def _bar(console: Terminal) -> Progress:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("· left"),
        TimeRemainingColumn(), console=console,
    )  # fmt: skip


@contextmanager
def watching(progress: bool | Watcher) -> Iterator[Watcher]:
    """What shows progress: a bar on a terminal, lines in a notebook or file, the caller's own object, or nothing."""
    if not isinstance(progress, bool):
        yield progress
        return
    from holdfast.core.terminal import Terminal

    with Watch(Terminal(quiet=not progress, force_terminal=None if progress else False)) as watch:
        yield watch
