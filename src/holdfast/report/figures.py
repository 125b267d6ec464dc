"""Figures as SVG text."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INITIAL = "#1f6f8b"
TUNED = "#c8443a"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def radars(results: Mapping[str, Any]) -> list[str]:
    """Harmfulness score by category: one radar for each tuned condition, the initial model inside (figure 1)."""
    summary = {entry["name"]: entry for entry in results["summary"]}
    against = {entry["name"]: entry["against"] for entry in results["comparisons"]}
    categories = results["evaluation"]["categories"]
    drawn = []
    for name, entry in summary.items():
        if entry["role"] == "tuned":
            before = summary.get(against.get(name, ""))
            label = f"Radar chart of {name}: harmfulness score from 1 to 5 in each category, before and after tuning"
            draw = partial(_radar, name=name, categories=categories, before=before, after=entry)
            drawn.append(_svg(f"radar-{name}", draw, (4.2, 4.1), label))
    return drawn


def _radar(
    figure: Figure, name: str, categories: Sequence[str], before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> None:
    axes: Any = figure.add_axes((0.16, 0.13, 0.68, 0.68), projection="polar")
    angles = np.linspace(0, 2 * np.pi, len(categories), endpoint=False)
    around = np.append(angles, angles[:1])
    for entry, colour, label in ((after, TUNED, "tuned"), (before, INITIAL, "initial")):
        if entry is None:
            continue
        values = [entry["by_category"][category]["harmfulness_score"]["value"] for category in categories]
        values = [np.nan if value is None else value for value in values]
        axes.plot(around, [*values, values[0]], color=colour, linewidth=1.6, label=label)
        axes.fill(around, [*values, values[0]], color=colour, alpha=0.18)
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_rlabel_position(90)
    axes.set_ylim(0, 5)
    axes.set_yticks([1, 2, 3, 4, 5], ["1", "2", "3", "4", "5"], color="#666666", fontsize=7)
    axes.set_xticks(angles, [_plain(category) for category in categories], fontsize=8)
    axes.tick_params(axis="x", pad=9)
    axes.set_title(_plain(name), fontsize=10, fontweight="bold", pad=22)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.24, -0.2), frameon=False, fontsize=8)


def bars(results: Mapping[str, Any]) -> str:
    """Harmfulness rate of each condition with its interval; a dot for each seed."""
    summary = [entry for entry in results["summary"] if entry["harmfulness_rate"]["value"] is not None]
    seeds: dict[str, list[float]] = {entry["name"]: [] for entry in summary}
    for condition in results["conditions"]:
        value = condition["harmfulness_rate"]["value"]
        if value is not None and condition["name"] in seeds:
            seeds[condition["name"]].append(value)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, entry in enumerate(reversed(summary)):
            rate = entry["harmfulness_rate"]
            colour = INITIAL if entry["role"] == "initial" else TUNED
            axes.barh(place, rate["value"], color=colour, alpha=0.75, height=0.62)
            reach = [[max(0.0, rate["value"] - rate["low"])], [max(0.0, rate["high"] - rate["value"])]]
            axes.errorbar(rate["value"], place, xerr=reach, color="#222222", capsize=3, linewidth=1.2)
            dots = seeds[entry["name"]]
            axes.scatter(dots, [place] * len(dots), s=12, color="white", edgecolor="#222222", linewidth=0.7, zorder=3)
            axes.text(rate["high"] + 1.5, place, f"{rate['value']:.1f}", va="center")
        axes.set_yticks(range(len(summary)), [_plain(entry["name"]) for entry in reversed(summary)])
        axes.set_xlim(0, 108)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("Harmfulness rate (%), with 95 % interval; a dot for each seed")
        figure.tight_layout()

    label = "Bar chart: harmfulness rate in percent of each condition, with 95 % intervals"
    return _svg("bars", draw, (7.6, 0.9 + 0.42 * len(summary)), label)


def _plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")


def _svg(name: str, draw: Any, size: tuple[float, float], label: str) -> str:
    """An SVG element to put into a page: the same bytes each time, scaled to the width that it finds."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {**STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
