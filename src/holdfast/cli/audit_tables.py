"""What a person reads on the terminal at the end of an audit, the decision first. It fits into 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.options import print_path

if TYPE_CHECKING:
    from holdfast.core.audit_record import AuditRecord, CategoryChange, FigureChange
    from holdfast.core.terminal import Terminal

NAMES = {
    "harmfulness_rate": "harmfulness rate, %",
    "harmfulness_score": "harmfulness score",
    "over_refusal": "over-refusal, %",
    "utility": "utility, %",
    "broken_answers": "broken answers, %",
}
"""Metric → its name, in the order of the table."""

COLOURS = {"pass": "green", "fail": "red", "cannot tell": "yellow", "not to be trusted": "magenta"}

MOST_REASONS = 4
"""Reasons that are listed behind the first."""

MOST_CATEGORIES = 6
"""Categories that are listed: those that changed most."""


def show(console: Terminal, record: AuditRecord, folder: Path) -> None:
    """The whole audit, in the order of `audit.json`."""
    from rich.text import Text

    decision = record.decision
    console.print(Text(decision.sentence, style=f"bold {COLOURS[decision.answer]}"))
    for reason in decision.reasons[1 : 1 + MOST_REASONS]:
        console.print(f"  {reason}")
    if (more := len(decision.reasons) - 1 - MOST_REASONS) > 0:
        console.print(f"  And {more} more: see `holdfast gate`.", style="dim")
    console.print(_figures(record))
    for line in _lines(record):
        console.print(line)
    if changed := _changed(record):
        console.print(_categories(changed))
    for line in _trust(record):
        console.print(line)
    for caution in record.cautions:
        console.print(f"Caution: {caution.text[:1].upper()}{caution.text[1:]}.", style="yellow")
    if record.proof.base.stand_in:
        from holdfast.report.layout import STAND_IN

        console.print(STAND_IN, style="yellow")
    for title, name in (("Page", "report.html"), ("All of it", "audit.json")):
        print_path(console, title, folder / name)


def number(value: float | None, signed: bool = False) -> str:
    """A figure with one decimal, or two below ten where it is no percentage."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.1f}".replace("-", "−")


def _form(metric: str, value: float | None, signed: bool = False) -> str:
    if value is not None and metric == "harmfulness_score":
        return f"{value:{'+' if signed else ''}.2f}".replace("-", "−")
    return number(value, signed)


def _figures(record: AuditRecord) -> object:
    from rich.table import Table

    table = Table(title="Before and after tuning", title_justify="left")
    for heading in ("", "base", "tuned", "difference", "95 % interval"):
        table.add_column(heading, justify="left" if not heading else "right")
    by_metric = {figure.metric: figure for figure in record.figures}
    for metric, name in NAMES.items():
        if figure := by_metric.get(metric):  # type: ignore[call-overload]
            table.add_row(name, *_cells(figure))
    return table


def _cells(figure: FigureChange) -> tuple[str, ...]:
    ends = ""
    if figure.low is not None:
        ends = f"{_form(figure.metric, figure.low)} to {_form(figure.metric, figure.high)}"
    mark = "" if figure.above_noise or not figure.difference else " (noise)"
    return (
        _form(figure.metric, figure.base.value),
        _form(figure.metric, figure.tuned.value),
        _form(figure.metric, figure.difference, signed=True) + mark,
        ends,
    )


def _lines(record: AuditRecord) -> Iterator[str]:
    """Flips, broken answers and the wording of refusals."""
    rate = next(figure for figure in record.figures if figure.metric == "harmfulness_rate")
    yield (
        f"Differences are tuned − base, paired by prompt; intervals are over {rate.over} "
        f"({rate.n_pairs} harmfulness prompts)."
    )
    yield f"Prompts that turned harmful: {record.flips['harmful']}; that turned safe: {record.flips['safe']}."
    for side, what in record.broken.items():
        if found := ", ".join(f"{n} {kind}" for kind, n in what.kinds.items() if n):
            yield f"Broken answers of the {side}: {found}."
    for side, wording in record.wording.items():
        listed = ", ".join(f"“{words} …” {n}" for words, n in list(wording.openings.items())[:3])
        yield f"Refusals of the {side}: {wording.refusals}" + (f": {listed}." if listed else ".")


def _changed(record: AuditRecord) -> list[CategoryChange]:
    """The categories in which prompts turned, those that changed most first."""
    changed = [each for each in record.by_category if each.base is not None and each.tuned is not None]
    changed = [each for each in changed if each.turned_harmful or each.turned_safe]
    return sorted(changed, key=lambda each: -abs((each.tuned or 0.0) - (each.base or 0.0)))


def _categories(changed: list[CategoryChange]) -> object:
    from rich.table import Table

    shown = changed[:MOST_CATEGORIES]
    title = f"Harmfulness rate by category: {len(shown)} of {len(changed)} that changed"
    table = Table(title=title, title_justify="left")
    for heading in ("category", "prompts", "base", "tuned", "95 % of the difference", "turned"):
        table.add_column(heading, justify="left" if heading == "category" else "right")
    for each in shown:
        turned = "/".join(filter(None, (_turned("+", each.turned_harmful), _turned("−", each.turned_safe))))
        ends = "" if each.low is None else f"{number(each.low)} to {number(each.high)}"
        table.add_row(each.category, str(each.n), number(each.base), number(each.tuned), ends, turned)
    return table


def _turned(sign: str, n: int) -> str:
    return f"{sign}{n}" if n else ""


def _trust(record: AuditRecord) -> Iterator[str]:
    """The noise floor, the judges, what could have been seen, and what ran."""
    noise = record.noise
    if noise.rate is not None:
        yield (
            f"Noise floor ({'; '.join(noise.changes)}): the base's rate moved by {number(noise.rate)} points; "
            f"{noise.flipped} of {noise.n} scores changed, and {noise.exact} answers are the same to the letter."
        )
    for pair in record.agreement:
        if pair.set == "harmfulness" and pair.exact is not None:
            kappa = "" if pair.kappa is None else f", weighted kappa {pair.kappa:.2f}"
            yield f"Judges: {pair.first} and {pair.second} agree on {number(pair.exact)} % of scores{kappa}."
    if len(record.directions) > 1:
        said = ", ".join(f"{each.judge} {number(each.difference, signed=True)}" for each in record.directions)
        yield f"Change of the rate by each judge: {said}."
    if least := record.smallest_difference:
        said = ", ".join(f"{NAMES.get(name, name)} {_form(name, value)}" for name, value in least.items())
        yield f"The smallest true change for the worse that this audit would have shown (power 80 %): {said}."
    yield from _proof(record)


def _proof(record: AuditRecord) -> Iterator[str]:
    proof = record.proof
    for title, model in (("Base", proof.base), ("Tuned", proof.tuned)):
        yield f"{title}: {model.name} ({model.kind}, {model.fingerprint})."
    if proof.largest_logit_change is not None:
        yield f"The largest change of a logit on a few prompts is {proof.largest_logit_change:.3g}."
    for name, source in proof.sources.items():
        yield f"{name}: {source.name} from {source.repo} at {source.revision[:12]} ({source.license})."
    if record.sequential:
        each = record.sequential
        yield f"Asked {each.asked} of {each.of} prompts; stopped: {each.stopped}."
