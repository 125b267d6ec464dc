"""The command `gate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.options import console, print_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from holdfast.core.audit_record import Check, Decision

COLOURS = {"pass": "green", "fail": "red", "cannot tell": "yellow", "not to be trusted": "magenta"}


def gate(
    folder: Annotated[Path, typer.Argument(help="The folder of an audit, or of a finished run.")],
    policy: Annotated[
        Path | None, typer.Option(help="A YAML file of margins and error rates. Default: the shipped one.")
    ] = None,
    condition: Annotated[str | None, typer.Option(help="Only this tuned condition.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Only the model of this seed; else all seeds of a condition together.")
    ] = None,
) -> None:
    """Say whether a tuned model may ship.

    Exits with 0 pass, 1 fail, 2 could not run, 3 cannot tell, 4 not to be trusted.
    Of several conditions the worst counts: 4, then 1, then 3, then 0.
    """
    from holdfast.analysis.decision import worst
    from holdfast.audit import gate as gates
    from holdfast.audit.policy import read_policy

    decisions = gates.gate(folder, read_policy(policy), condition, seed)
    terminal = console()
    for decision in decisions:
        show(terminal, decision)
    if len(decisions) > 1:
        _show_all(terminal, decisions)
    print_path(terminal, "Decision", gates.write(folder, decisions))
    raise typer.Exit(worst(decisions).exit_code)


def show(console: Console, decision: Decision) -> None:
    """One decision: its sentence, a row for each margin, and what else is known."""
    from rich.markup import escape
    from rich.table import Table

    colour = COLOURS[decision.answer]
    console.print(f"[bold]{escape(decision.condition)}[/bold]")
    console.print(f"[bold {colour}]{escape(decision.sentence)}[/bold {colour}]", soft_wrap=True)
    table = Table()
    for heading in ("", "change for the worse", "at least", "at most", "allowed", "answer"):
        table.add_column(heading, justify="left" if heading in ("", "answer") else "right")
    for check in decision.checks:
        if check.needed:
            table.add_row(*map(escape, _row(check)), style=COLOURS[check.answer] if check.answer == "fail" else None)
    if table.row_count:
        console.print(table)
    shown = {check.why for check in decision.checks if check.needed and check.answer != "cannot tell"}
    for reason in decision.reasons:
        if reason not in shown:
            console.print(f"· {reason}", soft_wrap=True, markup=False)


def _row(check: Check) -> list[str]:
    digits = 2 if check.metric == "harmfulness_score" else 1
    figures = ["–" if value is None else f"{value:+.{digits}f}" for value in (check.change, check.low, check.high)]
    name = check.name.replace("_", " ")
    return [name, *figures, f"{check.margin:g}", check.answer]


def _show_all(console: Console, decisions: Sequence[Decision]) -> None:
    """A row for each condition."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="All tuned conditions", title_justify="left")
    for heading in ("condition", "answer", "exit code"):
        table.add_column(heading)
    for decision in decisions:
        colour = COLOURS[decision.answer]
        table.add_row(escape(decision.condition), f"[{colour}]{decision.answer}[/]", str(decision.exit_code))
    console.print(table)
