"""Figures: radars, bars and lines."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import cycle
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.core.results import RunResults, Summary
from holdfast.core.types import Estimate
from holdfast.report.layout import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INITIAL = "#0b5cab"
TUNED = "#b53600"
COLOURS = (TUNED, INITIAL, "#8a6a00", "#7a3f9d", "#16736b")
"""Colours that stay apart for every kind of colour vision; lines differ by their marks as well."""
MARKS = ("o-", "s--", "^-.", "D:", "v-")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


LONGEST = 40
"""Characters of a name in a figure. Tables have the whole name."""

Draw = Callable[["Figure"], None]


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn as SVG, PNG or a matplotlib figure."""

    name: str
    draw: Draw
    size: tuple[float, float]
    """Width and height in inches."""
    label: str
    """What it shows, for those who cannot see it."""

    def svg(self) -> str:
        """An SVG element for a page: the same bytes each time, and as wide as the page allows."""
        text = self._save("svg", metadata={"Date": None, "Creator": None}).decode()
        text = text[text.index("<svg") :]
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        return text.replace("<svg", f'<svg role="img" aria-label="{escape(visible(self.label))}"', 1)

    def png(self) -> bytes:
        """A PNG picture of 200 dots an inch."""
        return self._save("png", dpi=200, facecolor="white", metadata={"Software": None})

    def figure(self) -> Figure:
        """A new matplotlib figure."""
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        style: Any = STYLE
        with matplotlib.rc_context(style):
            figure = Figure(figsize=self.size)
            FigureCanvasAgg(figure)
            self.draw(figure)
        return figure

    def _save(self, form: str, **options: Any) -> bytes:
        import matplotlib

        style: Any = {**STYLE, "svg.hashsalt": self.name}
        with matplotlib.rc_context(style):
            out = io.BytesIO()
            self.figure().savefig(out, format=form, **{"transparent": form == "svg", **options})
        return out.getvalue()


def radars(results: RunResults, names: Sequence[str] | None = None) -> list[Drawing]:
    """Harmfulness score by category: one radar for each tuned condition, the initial model inside (figure 1)."""
    summary = {entry.name: entry for entry in results.summary}
    against = {entry.name: entry.against for entry in results.comparisons}
    drawn = []
    for name, entry in summary.items():
        if entry.role == "tuned" and (names is None or name in names):
            label = f"Radar chart of {name}: harmfulness score from 1 to 5 in each category, before and after tuning"
            draw = partial(
                _radar,
                name=results.settings[name].label or name,
                categories=results.evaluation.categories,
                before=summary.get(against.get(name, "")),
                after=entry,
            )
            drawn.append(Drawing(f"radar-{name}", draw, (4.2, 4.1), label))
    return drawn


def _radar(figure: Figure, name: str, categories: Sequence[str], before: Summary | None, after: Summary) -> None:
    axes: Any = figure.add_axes((0.21, 0.15, 0.58, 0.62), projection="polar")
    angles = np.linspace(0, 2 * np.pi, len(categories), endpoint=False)
    around = np.append(angles, angles[:1])
    for entry, colour, label, dashes in ((after, TUNED, "tuned", "-"), (before, INITIAL, "initial", "--")):
        if entry is None:
            continue
        scores = [entry.by_category[category].harmfulness_score.value for category in categories]
        values = [np.nan if score is None else score for score in scores]
        axes.plot(around, [*values, values[0]], color=colour, linestyle=dashes, linewidth=1.6, label=label)
        axes.fill(around, [*values, values[0]], color=colour, alpha=0.18)
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_rlabel_position(90)
    axes.set_ylim(0, 5)
    axes.set_yticks([1, 2, 3, 4, 5], ["1", "2", "3", "4", "5"], color="#666666", fontsize=9)
    axes.set_xticks(angles, ["\n".join(wrap(_plain(category), 14)) for category in categories], fontsize=9)
    axes.tick_params(axis="x", pad=3)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        across = np.sin(angle)
        label.set_horizontalalignment("center" if abs(across) < 0.2 else "left" if across > 0 else "right")
    axes.set_title(_plain(name), fontsize=10, fontweight="bold", pad=18)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.36, -0.24), frameon=False, fontsize=9)


def bars(results: RunResults) -> Drawing:
    """Harmfulness rate of each condition with its interval; a dot for each seed."""
    summary = [entry for entry in results.summary if entry.harmfulness_rate.value is not None]
    seeds: dict[str, list[float]] = {entry.name: [] for entry in summary}
    for condition in results.conditions:
        if condition.name in seeds and condition.harmfulness_rate.value is not None:
            seeds[condition.name].append(condition.harmfulness_rate.value)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for height, entry in enumerate(reversed(summary)):
            _bar(axes, height, entry.harmfulness_rate, INITIAL if entry.role == "initial" else TUNED)
            dots = seeds[entry.name]
            axes.scatter(dots, [height] * len(dots), s=12, color="white", edgecolor="#222222", linewidth=0.7, zorder=3)
        axes.set_yticks(range(len(summary)), [_plain(entry.name) for entry in reversed(summary)])
        axes.set_xlim(0, 108)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("Harmfulness rate (%), with 95 % interval; a dot for each seed")
        figure.tight_layout()

    label = "Bar chart: harmfulness rate in percent of each condition, with 95 % intervals"
    return Drawing("bars", draw, (7.6, 0.9 + 0.42 * len(summary)), label)


def _bar(axes: Any, height: int, rate: Estimate, colour: str) -> None:
    """One condition's rate, its interval, and the figure beside it."""
    if rate.value is None or rate.low is None or rate.high is None:
        return
    axes.barh(height, rate.value, color=colour, alpha=0.75, height=0.62)
    reach = [[max(0.0, rate.value - rate.low)], [max(0.0, rate.high - rate.value)]]
    axes.errorbar(rate.value, height, xerr=reach, color="#222222", capsize=3, linewidth=1.2)
    axes.text(rate.high + 1.5, height, f"{rate.value:.1f}", va="center")


Points = Sequence[tuple[float, Estimate]]
"""A setting's values, each with the figure there."""


def lines(name: str, across: str, points_by_label: Mapping[str, Points], title: str) -> Drawing:
    """Harmfulness rate across a setting, a line for each label, with 95 % intervals as bands."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        styles = zip(cycle(COLOURS), cycle(MARKS), strict=False)
        for (label, points), (colour, mark) in zip(points_by_label.items(), styles, strict=False):
            drawn = [(value, rate) for value, rate in points if rate.value is not None]
            values = [value for value, _ in drawn]
            rates = np.array([(rate.low, rate.value, rate.high) for _, rate in drawn], dtype=float).reshape(-1, 3)
            axes.plot(values, rates[:, 1], mark, color=colour, markersize=4, label=_plain(label))
            axes.fill_between(values, rates[:, 0], rates[:, 2], color=colour, alpha=0.18, linewidth=0)
        ticks = sorted({value for points in points_by_label.values() for value, _ in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel(across.replace("_", " "))
        axes.set_ylabel("Harmfulness rate (%)")
        axes.set_ylim(-3, 103)
        axes.legend(frameon=False)
        figure.tight_layout()

    return Drawing(name, draw, (4.6, 3.3), f"{title}: harmfulness rate in percent with 95 % intervals")


def _plain(text: str) -> str:
    """A name as a figure shows it: cut where it is long, and nothing in it that matplotlib reads as mathematics."""
    shown = visible(text)
    cut = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
    return cut.replace("$", r"\$")
