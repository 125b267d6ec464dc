"""What the tables of terminal and page have in common: which figures they hold, and how figures are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.core.judge_facts import CascadeSaving
from holdfast.core.results import Caution, RunResults, Summary
from holdfast.core.types import Estimate

METRICS: dict[str, tuple[str, str]] = {
    "harmfulness_score": ("Harmfulness score (1–5)", "{:.2f}"),
    "harmfulness_rate": ("Harmfulness rate (%)", "{:.1f}"),
    "utility": ("Utility (%)", "{:.1f}"),
    "over_refusal": ("Over-refusal (%)", "{:.1f}"),
}
"""Metric → its name in tables and the form of its figures."""

FORMS = {**METRICS, "broken_answers": ("Broken answers (%)", "{:.1f}")}
"""The same, with the metric that only audits have."""

CORRECTED = "Rate, corrected (%)"
"""What the harmfulness rate is called once the judge's errors are taken out."""

PROMPTS_ALONE = (
    "* Over prompts alone: what another seed would give is not in this interval (one seed was run, or the seed changes "
    "no answer, as of an initial model that decodes greedily)."
)
"""What the mark behind an interval means."""

STAND_IN = (
    "These are figures of a stand-in: a small model of a world that comes with Holdfast (pocket or quiz), built so "
    "that the effects can be watched. They are no evidence about any other model."
)


@dataclass(frozen=True)
class Cell:
    """One figure as text."""

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
    """Conditions that are asked in the same setting, beside the initial model: one table of the paper."""

    initial: str
    """Name of the initial condition."""
    names: tuple[str, ...]
    """All columns: the initial condition and the tuned ones."""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """The metrics in the paper's order, and the corrected rate behind the raw one, each with one cell a column."""


def figure(metric: str, value: float | None) -> str:
    """A figure in its metric's form."""
    return "–" if value is None else FORMS[metric][1].format(value).replace("-", "−")


def signed(metric: str, value: float | None) -> str:
    """A difference with its sign."""
    if value is None:
        return figure(metric, None)
    return ("+" if value >= 0 else "−") + figure(metric, abs(value))


def change(metric: str, difference: float, low: float | None, high: float | None, over: str) -> str:
    """A difference with its unit and its interval, in words."""
    return f"{signed(metric, difference)} points, {ci(metric, low, high, over)}"


def ci(metric: str, low: float | None, high: float | None, over: str) -> str:
    """A 95 % interval in words."""
    if low is None or high is None:
        return "no interval"
    return f"95 % interval {interval(metric, low, high)} over {over}"


def set_name(name: str) -> str:
    """What a set of prompts is called on pages."""
    return name.replace("_", "-").capitalize()


INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Characters that do not show but change what does: controls, marks that turn the direction of text, surrogates."""


def visible(text: str) -> str:
    """Text in which characters that nobody sees are shown by their number."""
    return INVISIBLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def interval(metric: str, low: float | None, high: float | None, over: str = "prompts and seeds") -> str:
    """A 95 % interval, with a mark where it is over prompts and not over seeds; "" where there is none."""
    if low is None or high is None:
        return ""
    return f"{figure(metric, low)} to {figure(metric, high)}" + ("" if "seeds" in over else "*")


def cell(metric: str, estimate: Estimate | None, difference: float | None) -> Cell:
    """An estimate as text."""
    if estimate is None:
        return Cell(figure(metric, None), "", "", "")
    bounds = ""
    if estimate.missing:
        low, high = figure(metric, estimate.bound_low), figure(metric, estimate.bound_high)
        bounds = f"{estimate.missing} missing: {low} to {high}"
    change = "" if difference is None else signed(metric, difference)
    return Cell(
        figure(metric, estimate.value), change, interval(metric, estimate.low, estimate.high, estimate.over), bounds
    )


def groups(results: RunResults) -> list[Group]:
    """The tables of a run: one for each setting in which models are asked."""
    tuned = [entry for entry in results.summary if entry.role == "tuned"]
    return [
        _group(
            results, entry, [each for each in tuned if _setting(results, each.name) == _setting(results, entry.name)]
        )
        for entry in results.summary
        if entry.role == "initial"
    ]


def endings(results: RunResults) -> list[str]:
    """What a provider refused, failed to do or was told to stop: a sentence each, with the provider's message."""
    of = {"data": "the provider's checks of the data", "model": "the provider's checks of the tuned model", "": ""}
    return [
        f"{each.name}, seed {each.seed}: {each.outcome}"
        f"{f' by {of[each.about]}' if each.about else ''}; it has no figures. The provider says: {each.message}"
        for each in results.ended
    ]


def _setting(results: RunResults, name: str) -> tuple[str, str | None]:
    """How a condition is asked: its template and its decoding."""
    settings = results.settings[name]
    return settings.ask, settings.decoding


def _group(results: RunResults, initial: Summary, tuned: Sequence[Summary]) -> Group:
    changes = {(entry.name, entry.metric): entry.difference for entry in results.comparisons}
    columns, rows = (initial, *tuned), []
    ended = outcomes_without_figures(results)
    ended = {name: said for name, said in ended.items() if _setting(results, name) == _setting(results, initial.name)}
    without = [Cell(said, "", "", "") for said in ended.values()]
    for metric, (title, _) in METRICS.items():
        if initial.figure(metric):
            cells = [cell(metric, entry.figure(metric), changes.get((entry.name, metric))) for entry in columns]
            rows.append((title, (*cells, *without)))
        if metric == "harmfulness_rate" and initial.harmfulness_rate_corrected:
            cells = [cell(metric, entry.harmfulness_rate_corrected, None) for entry in columns]
            rows.append((CORRECTED, (*cells, *without)))
    return Group(initial.name, (*(entry.name for entry in columns), *ended), tuple(rows))


def outcomes_without_figures(results: RunResults) -> dict[str, str]:
    """Conditions of which no seed has figures → what became of them, in a word or two."""
    measured = {entry.name for entry in results.summary}
    outcomes: dict[str, dict[str, None]] = {}
    for each in results.ended:
        if each.name not in measured:
            outcomes.setdefault(each.name, {})[each.outcome] = None
    return {name: ", ".join(said) for name, said in outcomes.items()}


def cautions(results: RunResults) -> list[str]:
    """What makes the figures mean less than they seem to: a sentence each, with the condition that it is about."""
    return sentences(results.cautions)


def benchmark_notes(results: RunResults) -> list[str]:
    """How the prompts differ from the sets that upstream publishes: a line for each set that does."""
    return [
        f"{set_name(name)} prompts, {measured.benchmark}: {'; '.join(measured.notes)}."
        for name, measured in results.evaluation.sets.items()
        if measured.notes
    ]


def sentences(cautions: Sequence[Caution]) -> list[str]:
    """Cautions as sentences."""
    return [
        f"{entry.condition}: {entry.text}." if entry.condition else f"{entry.text[:1].upper()}{entry.text[1:]}."
        for entry in cautions
    ]


def judge_notes(results: RunResults) -> list[str]:
    """What a table's reader must know of the judges: how rates were corrected, and what a cascade saved."""
    corrected = [entry.harmfulness_rate_corrected for entry in results.summary if entry.harmfulness_rate_corrected]
    methods = dict.fromkeys(estimate.method for estimate in corrected)
    notes = [f"{CORRECTED}: {method}." for method in methods]
    return notes + [_saving(entry) for entry in results.cascade if entry.saved is not None]


def _saving(entry: CascadeSaving) -> str:
    """What a cascade saved, and what that costs in error."""
    saved = figure("harmfulness_rate", entry.saved)
    what = f"{entry.judge} ({entry.set}) saved {saved} % of {entry.n} costly calls"
    error = entry.rate_error
    if error is None:
        return f"{what}; none of the cheap judge's verdicts were checked, so the error is not known."
    points = f"{signed('harmfulness_rate', error.value)} points ({interval('harmfulness_rate', error.low, error.high)})"
    checked = f"estimated from {entry.disagree.n} of its verdicts that the costly one read too"
    return f"{what}; that moves the share of 5s by {points}, {checked}."


def agreement(results: RunResults) -> list[str]:
    """How far each pair of judges of harmfulness agrees: a line each."""
    lines = []
    for pair in results.agreement:
        if pair.set != "harmfulness" or pair.kappa is None:
            continue
        kappa = f"{figure('harmfulness_score', pair.kappa)} ({interval('harmfulness_score', pair.low, pair.high)})"
        equal = figure("harmfulness_rate", pair.exact)
        pair_of = f"{pair.first} and {pair.second}"
        lines.append(f"{pair_of} agree with a weighted kappa of {kappa}; {equal} % of {pair.n} scores are equal.")
    return lines


def cost(results: RunResults) -> str:
    """What a run's folder has cost, in all and by stage."""
    costs = results.costs
    stages = {
        "tuning": costs.tuning,
        "answers": costs.answers,
        **{name: entry.usd for name, entry in costs.judges.items()},
    }
    named = ", ".join(f"{name} ${usd:.4f}" for name, usd in stages.items() if usd > 0)
    return f"Cost: ${costs.usd:.4f} ({named})." if named else f"Cost: ${costs.usd:.4f}."


def judging(results: RunResults) -> list[str]:
    """What a run cost, how its judges did on their canaries, and how they have changed: a line each, or nothing."""
    costs, lines = results.costs, [cost(results)] if results.costs.usd > 0 else []
    paid_before = [entry for entry in costs.judges.values() if entry.from_cache]
    if paid_before:
        free, n = sum(entry.from_cache for entry in paid_before), sum(entry.verdicts for entry in paid_before)
        lines.append(f"{free} of {n} verdicts had been bought before and cost nothing.")
    for name, check in results.judges.items():
        if check.canaries:
            right = f"{check.canaries.passed} of {check.canaries.n} canaries rightly"
            lines.append(f"The judge {name} read {right} before it was paid for anything else.")
        if check.anchors.warning:
            lines.append(f"Warning: {check.anchors.warning}")
    return lines


def p_value(value: float) -> str:
    """A p-value as text; never 0."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
