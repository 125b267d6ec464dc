"""A gate's decisions as Markdown: the summary of a pull request, and the section that a model card gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.core.audit_record import AuditRecord, Check, Decision, FigureChange, GateAnswer
from holdfast.report import amounts
from holdfast.report.layout import STAND_IN
from holdfast.report.markdown import code, table, text

SIGNS: Mapping[GateAnswer, str] = {
    "pass": "✅ pass", "fail": "❌ fail", "cannot tell": "❔ cannot tell", "not to be trusted": "⚠️ not to be trusted",
}  # fmt: skip
"""Each answer with a sign beside the word, never the sign alone."""

HEAD = ("check", "change for the worse", "one-sided limits", "allowed", "answer")
"""Of the table of checks."""

MOST_CAUTIONS = 12
"""Cautions that are shown; what is left out is counted."""


def render(
    decisions: Sequence[Decision], record: AuditRecord | None = None, links: Mapping[str, str] | None = None
) -> str:
    """The summary for a pull request.

    Args:
        decisions: one for each tuned condition.
        record: the audit, where it is one; a study's run has none.
        links: name → file or address of what tells more, e.g. `{"page": "report.html"}`.
    """
    parts = ["## Holdfast: is it safe to ship?"]
    for decision in decisions:
        parts += decided(decision, heading=len(decisions) > 1)
        parts += figures(record) if record else []
        parts += checks(decision)
    parts += unseen(decisions, record)
    if links:
        parts.append("More: " + ", ".join(f"{text(name)} {code(place)}" for name, place in links.items()))
    return "\n\n".join(parts) + "\n"


def decided(decision: Decision, heading: bool = False) -> list[str]:
    """The decision in one sentence, and the reasons that no check gives."""
    parts = [f"### {code(decision.condition)}"] if heading else []
    says_it = decision.sentence.casefold().startswith(decision.answer)
    sign = SIGNS[decision.answer].split()[0] if says_it else f"{SIGNS[decision.answer]}:"
    parts.append(f"{sign} **{text(decision.sentence)}** (exit code {decision.exit_code})")
    said = [decision.sentence.casefold(), *(check.why.casefold() for check in decision.checks)]
    others = [reason for reason in decision.reasons if not any(reason.casefold() in one for one in said)]
    return [*parts, "\n".join(f"- {text(reason)}" for reason in others)] if others else parts


def figures(record: AuditRecord) -> list[str]:
    """Every figure that was measured, before and after, with intervals; then the flips."""
    rows = [_row(figure) for figure in record.figures]
    harmful, safe = record.flips.get("harmful", 0), record.flips.get("safe", 0)
    turned = (
        f"Prompts that turned harmful: **{harmful:,}**; that turned safe: **{safe:,}**. "
        f"Base {code(record.proof.base.name)}, tuned {code(record.proof.tuned.name)}, on {text(record.date)}."
    )
    return [table(("95 % intervals", "before", "after", "change"), rows), turned] if rows else [turned]


def _row(figure: FigureChange) -> tuple[str, ...]:
    metric = figure.metric
    change = f"{amounts.signed(metric, figure.difference)} ({amounts.span(metric, figure.low, figure.high)})"
    within = "" if figure.above_noise or not figure.difference else ", within the noise"
    return (
        amounts.NAMES[metric], amounts.estimate(metric, figure.base), amounts.estimate(metric, figure.tuned),
        change + within if figure.difference is not None else amounts.NOTHING,
    )  # fmt: skip


def checks(decision: Decision) -> list[str]:
    """The table of checks, why some cannot tell, and folded away those that a pass does not need."""
    needed = [check for check in decision.checks if check.needed]
    others = [check for check in decision.checks if not check.needed]
    failed = sum(check.answer == "fail" for check in others)
    whys = [f"- {text(check.name)}: {text(check.why)}" for check in needed if check.answer == "cannot tell"]
    parts = [table(HEAD, map(_check, needed))] if needed else []
    parts += ["\n".join(whys)] if whys else []
    if others:
        about = f"Checks that can fail a model and that a pass does not need: {failed} of {len(others)} failed"
        parts += [f"<details><summary>{about}</summary>", table(HEAD, map(_check, others)), "</details>"]
    return parts


def _check(check: Check) -> tuple[str, ...]:
    metric = check.metric
    return (
        text(amounts.NAMES[metric] if check.name == metric else check.name), amounts.signed(metric, check.change),
        amounts.span(metric, check.low, check.high), amounts.points(metric, check.margin), SIGNS[check.answer],
    )  # fmt: skip


def unseen(decisions: Sequence[Decision], record: AuditRecord | None) -> list[str]:
    """What could not be seen: questions that are missing, differences that are too small, and cautions."""
    lines = [
        f"{text(decision.condition)}, {text(check.name)}: about {check.n_needed:,} prompts could tell."
        for decision in decisions
        for check in _undecided(decision)
    ]
    if record:
        lines += _limits(record)
    return ["### What could not be seen", "\n".join(f"- {line}" for line in lines)] if lines else []


def _undecided(decision: Decision) -> list[Check]:
    return [check for check in decision.checks if check.answer == "cannot tell" and check.n_needed]


def _limits(record: AuditRecord) -> list[str]:
    names = {str(metric): name for metric, name in amounts.NAMES.items()}
    smallest = [f"{names.get(metric, text(metric))} {size:.2g}" for metric, size in record.smallest_difference.items()]
    lines = [f"Smaller changes for the worse than these can stay unseen (power 80 %): {', '.join(smallest)}."]
    cautions = [text(caution.text) for caution in record.cautions[:MOST_CAUTIONS]]
    left = len(record.cautions) - len(cautions)
    stand_in = record.proof.tuned.stand_in or record.proof.base.stand_in
    return [
        *(lines if smallest else []), *cautions, *([f"{left} more cautions are on the page."] if left else []),
        *([STAND_IN] if stand_in else []),
    ]  # fmt: skip
