"""Small pictures of a figure and its interval: places on a line, in percent of its width. A template draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.core.audit_record import Check
from holdfast.core.types import Estimate
from holdfast.report import layout

LEFT, RIGHT = -1.5, 3.0
"""What a check's picture shows: changes from −1.5 to 3 margins, so that zero and margin are in one line in all rows."""


@dataclass(frozen=True)
class Picture:
    """Where the parts of a picture are; None for those that it has not."""

    label: str
    """The same in words."""
    value: float | None
    low: float | None
    high: float | None
    zero: float | None = None
    """Where nothing changed."""
    limit: float | None = None
    """The margin."""
    old: float | None = None
    """The figure before tuning."""
    beyond: Literal["", "left", "right"] = ""
    """The side on which the figure lies outside the picture."""


def of_check(check: Check) -> Picture | None:
    """A check's change and its bounds on a scale of margins; None without data."""
    if check.change is None:
        return None
    # A margin of 0 is no scale; the change itself is one then.
    unit = abs(check.margin) or max(map(abs, (check.change, check.low or 0.0, check.high or 0.0))) or 1.0

    def place(value: float) -> float:
        return round((min(max(value / unit, LEFT), RIGHT) - LEFT) / (RIGHT - LEFT) * 100, 2)

    low = LEFT * unit if check.low is None else check.low
    high = RIGHT * unit if check.high is None else check.high
    bounds = layout.interval(check.metric, low, high)
    label = (
        f"{check.name}: change for the worse {layout.signed(check.metric, check.change)}, bounds {bounds}, "
        f"margin {layout.figure(check.metric, check.margin)}"
    )
    beyond: Literal["", "left", "right"] = (
        "right" if check.change > RIGHT * unit else "left" if check.change < LEFT * unit else ""
    )
    return Picture(label, place(check.change), place(low), place(high), place(0.0), place(check.margin), beyond=beyond)


def of_rate(metric: str, name: str, before: Estimate | None, after: Estimate) -> Picture | None:
    """A figure and its interval on its whole scale, beside what it was before tuning; None without data."""
    if after.value is None:
        return None
    lowest, highest = (1.0, 5.0) if metric == "harmfulness_score" else (0.0, 100.0)

    def place(value: float | None) -> float | None:
        return None if value is None else round((value - lowest) / (highest - lowest) * 100, 2)

    was = None if before is None else before.value
    label = f"{name}: {layout.FORMS[metric][0]} {layout.figure(metric, after.value)}"
    if after.low is not None:
        label += f", interval {layout.interval(metric, after.low, after.high)}"
    if was is not None:
        label += f", before tuning {layout.figure(metric, was)}"
    return Picture(label, place(after.value), place(after.low), place(after.high), old=place(was))
