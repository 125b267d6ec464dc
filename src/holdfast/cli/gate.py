"""The command `gate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.options import console, print_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.audit_record import Check, Decision
    from holdfast.core.terminal import Terminal

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
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML for a CI system into this file.")] = None,
    summary: Annotated[Path | None, typer.Option(help="Write Markdown for a pull request into this file.")] = None,
    model_card: Annotated[
        Path | None, typer.Option(help="Put a section about safety into this model card (README.md).")
    ] = None,
    eval_results: Annotated[
        Path | None, typer.Option(help="Write .eval_results/*.yaml for the Hub into this folder of a model.")
    ] = None,
    source_url: Annotated[str, typer.Option(help="Where readers of --eval-results find the audit.")] = "",
) -> None:
    """Say whether a tuned model may ship.

    Exits with 0 pass, 1 fail, 2 could not run, 3 cannot tell, 4 not to be trusted.
    Of several conditions the worst counts: 4, then 1, then 3, then 0.
    """
    from holdfast.analysis.decision import worst
    from holdfast.audit import gate as gates
    from holdfast.audit.policy import read_policy
    from holdfast.cli import gate_files

    decisions = gates.gate(folder, read_policy(policy), condition, seed)
    terminal = console()
    for decision in decisions:
        show(terminal, decision)
    if len(decisions) > 1:
        _show_all(terminal, decisions)
    print_path(terminal, "Decision", gates.write(folder, decisions))
    wanted = gate_files.Wanted(junit, summary, model_card, eval_results, source_url)
    for name, path in gate_files.write(folder, decisions, wanted):
        print_path(terminal, name, path)
    raise typer.Exit(worst(decisions).exit_code)


def show(console: Terminal, decision: Decision) -> None:
    """One decision: its sentence, a row for each margin, and what else is known."""
    from rich.table import Table

    colour = COLOURS[decision.answer]
    console.print(decision.condition, style="bold")
    console.print(decision.sentence, style=f"bold {colour}", soft_wrap=True)
    table = Table()
    for heading in ("", "change for the worse", "at least", "at most", "allowed", "answer"):
        table.add_column(heading, justify="left" if heading in ("", "answer") else "right")
    for check in decision.checks:
        if check.needed:
            table.add_row(*_row(check), style=COLOURS[check.answer] if check.answer == "fail" else None)
    if table.row_count:
        console.print(table)
    shown = {check.why for check in decision.checks if check.needed and check.answer != "cannot tell"}
    for reason in decision.reasons:
        if reason not in shown:
            console.print(f"· {reason}", soft_wrap=True)


def _row(check: Check) -> list[str]:
    digits = 2 if check.metric == "harmfulness_score" else 1
    figures = ["–" if value is None else f"{value:+.{digits}f}" for value in (check.change, check.low, check.high)]
    name = check.name.replace("_", " ")
    return [name, *figures, f"{check.margin:g}", check.answer]


def _show_all(console: Terminal, decisions: Sequence[Decision]) -> None:
    """A row for each condition."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="All tuned conditions", title_justify="left")
    for heading in ("condition", "answer", "exit code"):
        table.add_column(heading)
    for decision in decisions:
        answer = Text(decision.answer, COLOURS[decision.answer])
        table.add_row(decision.condition, answer, str(decision.exit_code))
    console.print(table)
