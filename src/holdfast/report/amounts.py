"""How the figures of an audit are written in words: for JUnit XML, for a pull request and for a model card."""

from __future__ import annotations

from holdfast.core.audit_record import Metric
from holdfast.core.types import Estimate

NAMES: dict[Metric, str] = {
    "harmfulness_rate": "Harmfulness rate", "harmfulness_score": "Harmfulness score", "over_refusal": "Over-refusal",
    "utility": "Utility", "broken_answers": "Broken answers",
}  # fmt: skip
"""Metric → its name."""

NOTHING = "–"
"""What is written where there is no figure."""


def plain(metric: Metric, value: float | None) -> str:
    """A figure: a score with two decimals, anything else with one and a percent sign."""
    if value is None:
        return NOTHING
    return (f"{value:.2f}" if metric == "harmfulness_score" else f"{value:.1f} %").replace("-", "−")


def points(metric: Metric, value: float) -> str:
    """The size of a difference: points, or a score."""
    return f"{value:.2f}" if metric == "harmfulness_score" else f"{value:.1f} points"


def signed(metric: Metric, value: float | None) -> str:
    """A difference, with its sign; those of rates are in points."""
    if value is None:
        return NOTHING
    return ("+" if value >= 0 else "−") + points(metric, abs(value))


def span(metric: Metric, low: float | None, high: float | None) -> str:
    """An interval; an open end is named as one."""
    if low is None and high is None:
        return NOTHING
    if low is None:
        return f"at most {_number(metric, high)}"
    return f"at least {_number(metric, low)}" if high is None else f"{_number(metric, low)} to {_number(metric, high)}"


def estimate(metric: Metric, figure: Estimate) -> str:
    """A figure with its interval in brackets."""
    if figure.value is None:
        return NOTHING
    return f"{plain(metric, figure.value)} ({span(metric, figure.low, figure.high)})"


def _number(metric: Metric, value: float | None) -> str:
    decimals = 2 if metric == "harmfulness_score" else 1
    return NOTHING if value is None else f"{value:.{decimals}f}".replace("-", "−")
