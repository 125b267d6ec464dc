"""How far long work is: what is going on now, how fast, and how much time is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Activity:
    """What one piece of work is doing now."""

    task: str
    """What it is and for which conditions, e.g. `tuning harm-2 (seed 0)`."""
    unit: str
    """What is counted: steps, prompts, answers."""
    done: int
    total: int
    speed: float | None = None
    """Units a second; None before the first one is done."""
    loss: float | None = None
    """Of the last step, in nats a token; None where nothing is tuned."""
    tokens_per_second: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """At this speed; None where there is none yet."""
        return (self.total - self.done) / self.speed if self.speed else None

    def __str__(self) -> str:
        parts = [f"{self.task}: {self.done:,} of {self.total:,} {self.unit}"]
        if self.seconds_left is not None:
            parts.append(f"{clock(self.seconds_left)} left")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        if self.speed:
            parts.append(f"{self.speed:,.1f} {self.unit}/s")
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        return ", ".join(parts)


class Progress(Protocol):
    """Where a piece of work tells how far it is, however often; what shows it takes care not to do so too often."""

    def advance(self, units: int) -> None:
        """Say that so many more units of the whole run (optimizer steps, answers, verdicts) are done."""

    def show(self, activity: Activity) -> None:
        """Say what is going on now."""

    def note(self, text: str) -> None:
        """Say something that is worth a line."""


@dataclass(frozen=True)
class TuningStep:
    """How far a tuning is. A tuner tells it before the first step, and after steps."""

    done: int
    """Steps done in all; a tuning that is resumed begins with those done earlier."""
    total: int
    loss: float | None = None
    """Of the last step, in nats a token."""
    tokens: float | None = None
    """Tokens of the rows of a step, on average."""
    note: str = ""
    """What the user must know before the first step, e.g. that a damaged checkpoint is not used."""


OnStep = Callable[[TuningStep], None]
"""Called by a tuner with how far it is."""


class Meter:
    """Counts the units of one task, and tells a piece of work's progress how fast they are done."""

    def __init__(self, progress: Progress, task: str, unit: str, total: int, weight: int = 1) -> None:
        self.progress, self.task, self.unit, self.total = progress, task, unit, total
        self.weight = weight
        """Units of the whole run in one of the task's."""
        self.done = self.done_before = 0
        self.begun: float | None = None

    def begin(self, done: int = 0) -> None:
        """The task begins now; so many units were done earlier, and do not count as speed."""
        self.begun = time.monotonic()
        self.done = self.done_before = done
        self.progress.advance(done * self.weight)
        self.progress.show(Activity(self.task, self.unit, done, self.total))

    def advance(self, units: int, loss: float | None = None, tokens: float | None = None) -> None:
        """So many more units are done; `tokens` is how many a unit has."""
        self.done += units
        self.progress.advance(units * self.weight)
        seconds = time.monotonic() - self.begun if self.begun is not None else 0.0
        speed = (self.done - self.done_before) / seconds if seconds else None
        tokens_per_second = tokens * speed if tokens and speed else None
        self.progress.show(Activity(self.task, self.unit, self.done, self.total, speed, loss, tokens_per_second))

    def step(self, step: TuningStep) -> None:
        """What a tuner tells."""
        self.total = step.total
        if step.note:
            self.progress.note(f"{self.task}: {step.note}")
        if self.begun is None:
            self.begin(step.done)
        else:
            self.advance(step.done - self.done, step.loss, step.tokens)


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
