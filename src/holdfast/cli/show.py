"""What a person reads on the terminal at the end of a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.watch import clock

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast.doctor import Diagnosis


def diagnosis(console: Console, name: str, found: Diagnosis, path: Path) -> None:
    """What the doctor found, worst first, and what the run takes."""
    from rich.markup import escape
    from rich.table import Table

    marks = {"fault": "[red]fault[/red]", "warning": "[yellow]warning[/yellow]", "note": "[dim]note[/dim]"}
    table = Table(title=f"What to know before running {escape(name)}", title_justify="left", show_lines=True)
    for heading in ("", "where", "what"):
        table.add_column(heading)
    for level, mark in marks.items():
        for finding in found.findings:
            if finding.level == level:
                table.add_row(mark, escape(finding.where), escape(finding.what))
    console.print(table if found.findings else "Nothing to mend.")
    needs = Table(title="What it takes (times are good to a factor of about three)", title_justify="left")
    for heading in ("stage", "tokens", "time", "US dollars"):
        needs.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in found.stages:
        taken = "not here" if stage.seconds is None else clock(stage.seconds)
        needs.add_row(stage.name, f"{stage.tokens:,}", taken, f"{stage.usd:.2f}")
    if found.stages:
        console.print(needs)
    if found.memory:
        what, needed = max(found.memory.items(), key=lambda item: item[1])
        free = f"{found.memory_found / 2**30:.1f} GiB are free"
        console.print(f"Memory: {escape(what)} needs the most, about {needed / 2**30:.2f} GiB; {free}")
    console.print(f"Findings: [bold]{path}[/bold]", soft_wrap=True)


def figures(console: Console, results: dict[str, Any], folder: Path) -> None:
    """The tables of a finished run, and where its files are."""
    from holdfast.report import layout, table

    for shown in table.tables(results):
        console.print(shown)
    if results["model"]["stand_in"]:
        console.print(f"[yellow]{layout.STAND_IN}[/yellow]")
    console.print("In brackets: change from the initial model. Below: 95 % interval.", style="dim")
    for line in layout.judging(results):
        console.print(line, soft_wrap=True, markup=False)
    for title, name in (("Page", "report.html"), ("Figures", "results.json")):
        console.print(f"{title}: [bold]{folder / name}[/bold]", soft_wrap=True)


def verdicts(console: Console, results: dict[str, Any], claims: Sequence[dict[str, Any]], folder: Path) -> None:
    """The verdicts on the paper's claims, and where the reproduction's files are."""
    from rich.table import Table

    from holdfast.report import layout

    table = Table(
        title=f"{results['study']}: {results['model']['name']}, {len(results['seeds'])} seeds", title_justify="left"
    )
    for heading in ("claim", "table", "verdict", "difference (points)", "p"):
        table.add_column(heading)
    colours = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}
    for claim in claims:
        difference = layout.signed("harmfulness_rate", claim["effect"])
        if claim["effect"] is not None:
            difference += f" ({layout.interval('harmfulness_rate', claim)})"
        verdict = f"[{colours[claim['verdict']]}]{claim['verdict']}[/]"
        table.add_row(claim["claim"], claim["table"], verdict, difference, layout.p_value(claim["p_value"]))
    console.print(table)
    counts = {verdict: sum(claim["verdict"] == verdict for claim in claims) for verdict in colours}
    console.print(", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + f" of {len(claims)} claims")
    if results["model"]["stand_in"]:
        console.print(f"[yellow]{layout.STAND_IN}[/yellow]")
    for line in layout.judging(results):
        console.print(line, soft_wrap=True, markup=False)
    for title, name in (
        ("Page", "report.html"),
        ("Claims", "claims.json"),
        ("Tables", "tables/"),
        ("Figures", "figures/"),
    ):
        console.print(f"{title}: [bold]{folder}/{name}[/bold]", soft_wrap=True)
