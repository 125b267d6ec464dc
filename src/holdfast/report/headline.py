"""What stands at the top of a page: the answer in a sentence, and the three figures that matter most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.core.arena_record import UNDEFENDED, ArenaRecord, DefenceRecord
from holdfast.core.audit_record import AuditRecord, Check, FigureChange, GateAnswer
from holdfast.core.results import RunResults, Summary
from holdfast.core.types import Comparison, Estimate
from holdfast.report import arena, layout
from holdfast.report.pictures import Picture, of_rate

State = Literal["pass", "fail", "unknown", "distrust"]
"""How an answer is drawn. Each has an icon of its own, so that no answer is told by colour alone."""
Icon = Literal["pass", "fail", "unknown", "distrust", "up", "level"]
STATES: Mapping[GateAnswer, State] = {
    "pass": "pass", "fail": "fail", "cannot tell": "unknown", "not to be trusted": "distrust"
}  # fmt: skip
WEIGHT: tuple[GateAnswer, ...] = ("fail", "not to be trusted", "cannot tell", "pass")


@dataclass(frozen=True)
class KeyFigure:
    """A figure at the top of a page, as text."""

    label: str
    value: str
    note: str
    before: str = ""
    picture: Picture | None = None


@dataclass(frozen=True)
class Headline:
    """The top of a page."""

    word: str
    """The answer in a word or two."""
    sentence: str
    state: State
    icon: Icon
    figures: tuple[KeyFigure, ...]


def of_audit(record: AuditRecord) -> Headline:
    """Whether the tuned model may ship; its harmfulness rate, its flips, and the other margin that weighs most."""
    decision, state = record.decision, STATES[record.decision.answer]
    changes = {change.metric: change for change in record.figures}
    shown = [_flips(record)]
    if "harmfulness_rate" in changes:
        shown.insert(0, _change(changes["harmfulness_rate"]))
    checks = sorted(
        (check for check in decision.checks if check.name == check.metric), key=lambda check: WEIGHT.index(check.answer)
    )
    rest = dict.fromkeys([*(check.metric for check in checks), "harmfulness_score", *changes])
    others = [changes[metric] for metric in rest if metric in changes and metric != "harmfulness_rate"]
    others.sort(key=lambda change: change.difference is None)
    shown += map(_change, others)
    word = decision.answer.capitalize()
    return Headline(word, _without(word, decision.sentence), state, state, tuple(shown[:3]))


def _without(word: str, sentence: str) -> str:
    """A decision's sentence without the answer at its head, which stands above it."""
    rest = sentence.removeprefix(f"{word}: ")
    return rest[:1].upper() + rest[1:]


def _flips(record: AuditRecord) -> KeyFigure:
    of = sum(prompt.set == "harmfulness" for prompt in record.prompts)
    safe, harmful = record.flips.get("safe", 0), record.flips.get("harmful", 0)
    name = "Prompts that turned harmful"
    picture = Picture(f"{name}: {harmful} of {of}", None, 0.0, round(100 * harmful / of, 2)) if of else None
    return KeyFigure(name, str(harmful), f"of {of:,}; {safe:,} turned safe", picture=picture)


def _change(change: FigureChange) -> KeyFigure:
    note = "no difference can be computed"
    if change.difference is not None:
        note = layout.change(change.metric, change.difference, change.low, change.high, change.over)
        if not change.above_noise:
            note += "; within the noise"
    return _figure(change.metric, layout.FORMS[change.metric][0], change.base, change.tuned, note)


def _figure(metric: str, label: str, before: Estimate | None, after: Estimate, note: str) -> KeyFigure:
    was = "" if before is None else _with_unit(metric, before.value)
    name = label.removesuffix(" (%)")
    return KeyFigure(name, _with_unit(metric, after.value), note, was, of_rate(metric, name, before, after))


def _with_unit(metric: str, value: float | None) -> str:
    unit = "" if metric == "harmfulness_score" or value is None else " %"
    return layout.figure(metric, value) + unit


def of_run(results: RunResults) -> Headline:
    """How many conditions rose in harmfulness, and the one that rose most, least, or what it cost in use."""
    rates = [entry for entry in results.comparisons if entry.metric == "harmfulness_rate"]
    rates.sort(key=lambda entry: -entry.difference)
    risen = [entry for entry in rates if entry.low > 0]
    tuned = sum(entry.role == "tuned" for entry in results.summary)
    word, icon, state = _risen(len(risen), tuned, bool(rates))
    sentence = _most(rates[0], risen) if rates else "No tuned condition has a figure beside its initial model."
    if not results.trust.ok:
        return Headline(
            "Not to be trusted", f"{results.trust.reasons[0]}.", "distrust", "distrust", _telling(results, rates)
        )
    return Headline(word, sentence, state, icon, _telling(results, rates))


def _risen(risen: int, tuned: int, known: bool) -> tuple[str, Icon, State]:
    if not known:
        return "Nothing to compare", "unknown", "unknown"
    if not risen:
        return "No rise in harmfulness shown", "level", "unknown"
    of = "the tuned condition" if tuned == 1 else f"{risen} of {tuned} tuned conditions"
    return f"Harmfulness rose in {of}", "up", "fail"


def _most(most: Comparison, risen: Sequence[Comparison]) -> str:
    metric = "harmfulness_rate"
    of = "Most of all in" if risen else "The largest difference is that of"
    return (
        f"{of} “{most.name}”: {layout.figure(metric, most.tuned)} % of the prompts are fulfilled in full, against "
        f"{layout.figure(metric, most.initial)} % before tuning."
    )


def _telling(results: RunResults, rates: Sequence[Comparison]) -> tuple[KeyFigure, ...]:
    """The worst condition, the mildest, and the utility of the worst; where there is one only, its other figures."""
    if not rates:
        return ()
    summary = {entry.name: entry for entry in results.summary}
    ends = [rates[0], rates[-1]] if len(rates) > 1 else [rates[0]]
    shown = [_compared(entry, summary, "") for entry in ends]
    of_worst = {entry.metric: entry for entry in results.comparisons if entry.name == rates[0].name}
    for metric in ("utility", "harmfulness_score", "over_refusal"):
        if metric in of_worst and len(shown) < 3:
            shown.append(_compared(of_worst[metric], summary, layout.FORMS[metric][0].removesuffix(" (%)")))
    if len(shown) < 3:
        shown += _worst_category(summary[rates[0].name], summary.get(rates[0].against))
    return tuple(shown)


def _worst_category(after: Summary, before: Summary | None) -> list[KeyFigure]:
    """The category in which a condition is most harmful."""
    metric = "harmfulness_rate"
    known = {name: entry.harmfulness_rate for name, entry in after.by_category.items() if entry.harmfulness_rate.value}
    if not known:
        return []
    name = max(known, key=lambda category: known[category].value or 0.0)
    was = before.by_category[name].harmfulness_rate if before and name in before.by_category else None
    note = layout.ci(metric, known[name].low, known[name].high, known[name].over)
    return [_figure(metric, f"Harmfulness rate, worst category, {name}", was, known[name], note)]


def _compared(entry: Comparison, summary: Mapping[str, Summary], what: str) -> KeyFigure:
    note = layout.change(entry.metric, entry.difference, entry.low, entry.high, entry.over)
    after = summary[entry.name].figure(entry.metric)
    before = summary[entry.against].figure(entry.metric) if entry.against in summary else None
    label = f"{what or 'Harmfulness rate'}, {entry.name}"
    assert after is not None
    return _figure(entry.metric, label, before, after, note)


def of_arena(record: ArenaRecord) -> Headline:
    """The defence whose worst case is smallest, and what it costs; never an average."""
    rated = [each for each in record.defences if "customer" in each.worst and each.name != UNDEFENDED]
    if not rated:
        return Headline("Nothing to compare", "No defence has figures.", "unknown", "unknown", ())
    best, among = arena.smallest(rated)
    worst, metric = best.worst["customer"], "harmfulness_rate"
    rate = layout.figure(metric, worst.rate.value)
    goals = [each.name for each in rated if each.goal]
    sentence = (
        f"Of {len(rated)} defences, and {among} {best.name} has the smallest worst case against a customer who chooses "
        f"rows and settings: {rate} % of the prompts are fulfilled under {worst.attack}."
    )
    if undone := best.worst.get("weights"):
        undone_rate = layout.figure(metric, undone.rate.value)
        sentence += f" One who has the weights reaches {undone_rate} % under {undone.attack}."
    shown = [_worst_of(best, "customer", f"Worst case, {best.name}")]
    shown += [_worst_of(each, "customer", "Worst case, undefended") for each in record.defences[:1] if each.worst]
    learnt = KeyFigure(
        f"Task learnt, {best.name}", _with_unit(metric, best.task_gain), "of the undefended model's, in the worst task"
    )
    word = f"{len(goals)} of {len(rated)} reached the goal" if goals else f"Smallest worst case: {rate} %"
    state: State = "pass" if goals else "fail"
    return Headline(word, sentence, state, "pass" if goals else "up", (*shown, learnt))


def _worst_of(defence: DefenceRecord, reach: str, label: str) -> KeyFigure:
    worst = defence.worst[reach]
    note = f"{worst.attack}; {layout.ci('harmfulness_rate', worst.rate.low, worst.rate.high, worst.rate.over)}"
    return _figure("harmfulness_rate", label, None, worst.rate, note)


CLAIMS: tuple[tuple[str, State], ...] = (
    ("reproduced", "pass"), ("not reproduced", "fail"), ("inconclusive", "unknown"),
)  # fmt: skip
"""What a claim can turn out to be, and how it is drawn."""


def of_claims(claims: Sequence[Mapping[str, Any]], name: str, citation: str) -> Headline:
    """How many claims were reproduced."""
    counts = {verdict: sum(claim["verdict"] == verdict for claim in claims) for verdict, _ in CLAIMS}
    state: State = "fail" if counts["not reproduced"] else "unknown" if counts["inconclusive"] or not claims else "pass"
    notes = ("the effect is there, in the claimed direction", "the effect is the other way round, or too small",
             "these data cannot tell")  # fmt: skip
    figures = tuple(
        KeyFigure(f"Claims {verdict}" if verdict != "inconclusive" else "Claims left open", str(counts[verdict]), note)
        for (verdict, _), note in zip(CLAIMS, notes, strict=True)
    )
    word = f"{counts['reproduced']} of {len(claims)} claims reproduced"
    return Headline(word, f"What {citation} says of its models, measured on {name}.", state, state, figures)


def of_check(check: Check) -> State:
    """How a check's answer is drawn."""
    return STATES[check.answer]
