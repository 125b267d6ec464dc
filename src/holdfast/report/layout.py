"""What the terminal's table and the page's tables have in common: which figures stand where, and how they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

METRICS: dict[str, tuple[str, str]] = {
    "harmfulness_score": ("Harmfulness score (1–5)", "{:.2f}"),
    "harmfulness_rate": ("Harmfulness rate (%)", "{:.1f}"),
    "utility": ("Utility (%)", "{:.1f}"),
    "over_refusal": ("Over-refusal (%)", "{:.1f}"),
}
"""Metric → its name in tables and the form of its figures."""

CORRECTED = "Rate, corrected (%)"
"""What the harmfulness rate is called once the judge's errors are taken out."""

PROMPTS_ALONE = (
    "* Over prompts alone: what another seed would give is not in this interval (one seed was run, or the seed changes "
    "no answer, as of an initial model that decodes greedily)."
)
"""What the mark behind an interval means."""

STAND_IN = (
    "These are figures of the pocket world: a fictional stand-in with a very small model, built so that the "
    "effects can be watched. They are no evidence about any other model."
)


@dataclass(frozen=True)
class Cell:
    """One figure as it is read."""

    value: str
    """The figure, or – where there is none."""
    change: str
    """The difference to the initial model, signed, or ""."""
    interval: str
    """`low to high`, the 95 % interval."""
    missing: str
    """The bounds that missing verdicts leave, or "" where none is missing."""


@dataclass(frozen=True)
class Group:
    """Conditions asked in the same way, beside the initial model: one table of the paper."""

    initial: str
    """Name of the initial condition."""
    names: tuple[str, ...]
    """All columns: the initial condition and the tuned ones."""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """The metrics in the paper's order, and the corrected rate behind the raw one, each with one cell a column."""


def figure(metric: str, value: float | None) -> str:
    """A figure in its metric's form."""
    return "–" if value is None else METRICS[metric][1].format(value).replace("-", "−")


def signed(metric: str, value: float | None) -> str:
    """A difference with its sign."""
    if value is None:
        return figure(metric, None)
    return ("+" if value >= 0 else "−") + figure(metric, abs(value))


def interval(metric: str, estimate: Mapping[str, Any]) -> str:
    """The 95 % interval of an estimate or a comparison, with a mark where it is over prompts and not over seeds."""
    if estimate["low"] is None:
        return ""
    mark = "" if "seeds" in estimate.get("over", "seeds") else "*"
    return f"{figure(metric, estimate['low'])} to {figure(metric, estimate['high'])}{mark}"


def cell(metric: str, estimate: Mapping[str, Any], difference: float | None) -> Cell:
    """An estimate as it is read."""
    bounds = ""
    if estimate["missing"]:
        low, high = figure(metric, estimate["bound_low"]), figure(metric, estimate["bound_high"])
        bounds = f"{estimate['missing']} missing: {low} to {high}"
    change = "" if difference is None else signed(metric, difference)
    return Cell(figure(metric, estimate["value"]), change, interval(metric, estimate), bounds)


def way(results: Mapping[str, Any], name: str) -> tuple[str, str | None]:
    """How a condition is asked: its template and its decoding."""
    settings = results["settings"][name]
    return settings["ask"], settings["decoding"]


def groups(results: Mapping[str, Any]) -> list[Group]:
    """The tables of a run: one for each way of asking."""
    summary = {entry["name"]: entry for entry in results["summary"]}
    changes = {(entry["name"], entry["metric"]): entry["difference"] for entry in results["comparisons"]}
    found = []
    for initial in [name for name, entry in summary.items() if entry["role"] == "initial"]:
        tuned = [name for name, entry in summary.items() if entry["role"] == "tuned"]
        names = (initial, *(name for name in tuned if way(results, name) == way(results, initial)))
        rows = []
        for metric, (title, _) in METRICS.items():
            if summary[initial][metric]:
                cells = (cell(metric, summary[name][metric], changes.get((name, metric))) for name in names)
                rows.append((title, tuple(cells)))
            if metric == "harmfulness_rate" and summary[initial].get("harmfulness_rate_corrected"):
                cells = (cell(metric, summary[name]["harmfulness_rate_corrected"], None) for name in names)
                rows.append((CORRECTED, tuple(cells)))
        found.append(Group(initial, names, tuple(rows)))
    return found


def distrust(results: Mapping[str, Any]) -> list[str]:
    """Why the figures, or some of them, are not to be trusted; empty where they are."""
    return list(results.get("trust", {}).get("reasons", ()))


def warnings(results: Mapping[str, Any]) -> list[str]:
    """What makes a figure mean less than it says, though its condition can be trusted: a line each."""
    figures = ((entry["name"], entry.get("harmfulness_rate_corrected")) for entry in results["summary"])
    return [f"{name}: {figure['warning']}." for name, figure in figures if figure and figure["warning"]]


def judge_notes(results: Mapping[str, Any]) -> list[str]:
    """What a table's reader must know of the judges: how rates were corrected, and what a cascade saved."""
    methods = dict.fromkeys(
        entry["harmfulness_rate_corrected"]["method"]
        for entry in results["summary"]
        if entry.get("harmfulness_rate_corrected")
    )
    notes = [f"{CORRECTED}: {method}." for method in methods]
    for entry in results.get("cascade", ()):
        if entry["saved"] is None:
            continue
        saved = figure("harmfulness_rate", entry["saved"])
        said = f"{entry['judge']} ({entry['set']}) saved {saved} % of {entry['n']} costly calls"
        error = entry["rate_error"]
        if error is None:
            notes.append(f"{said}; none of the cheap judge's verdicts were checked, so the error is not known.")
            continue
        points = f"{signed('harmfulness_rate', error['value'])} points ({interval('harmfulness_rate', error)})"
        checked = f"estimated from {entry['disagree']['n']} of its verdicts that the costly one read too"
        notes.append(f"{said}; that moves the share of 5s by {points}, {checked}.")
    return notes


def agreement(results: Mapping[str, Any]) -> list[str]:
    """How far each pair of judges of harmfulness agrees: a line each."""
    lines = []
    for pair in results.get("agreement", ()):
        if pair["set"] != "harmfulness" or pair["kappa"] is None:
            continue
        kappa = f"{figure('harmfulness_score', pair['kappa'])} ({interval('harmfulness_score', pair)})"
        equal = figure("harmfulness_rate", pair["exact"])
        pair_of = f"{pair['first']} and {pair['second']}"
        lines.append(f"{pair_of} agree with a weighted kappa of {kappa}; {equal} % of {pair['n']} scores are equal.")
    return lines


def judging(results: Mapping[str, Any]) -> list[str]:
    """What a run cost, how its judges did on their canaries, and how they have changed: a line each, or nothing."""
    costs, lines = results.get("costs"), []
    if costs and costs["usd"] > 0:
        parts = {"answers": costs["answers"], **{name: entry["usd"] for name, entry in costs["judges"].items()}}
        named = ", ".join(f"{name} ${usd:.4f}" for name, usd in parts.items() if usd > 0)
        lines.append(f"Cost: ${costs['usd']:.4f}" + f" ({named})" * bool(named) + ".")
    if costs and (known := sum(entry["from_book"] for entry in costs["judges"].values())):
        n = sum(entry["verdicts"] for entry in costs["judges"].values() if entry["from_book"])
        lines.append(f"{known} of {n} verdicts had been bought before and cost nothing.")
    for name, check in results.get("judges", {}).items():
        if check["canaries"]:
            passed, n = check["canaries"]["passed"], check["canaries"]["n"]
            lines.append(
                f"The judge {name} read {passed} of {n} canaries rightly before it was paid for anything else."
            )
        if check["anchors"] and check["anchors"]["warning"]:
            lines.append(f"Warning: {check['anchors']['warning']}")
    return lines


def p_value(value: float) -> str:
    """A p-value as it is read; never as 0."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
