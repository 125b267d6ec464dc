"""The command `recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.audit import Benchmark, Generate, Judges, OverRefusal, System, Utility
from holdfast.cli.options import (
    PATH,
    MaxHours,
    MaxUsd,
    Replace,
    Workers,
    a_path,
    console,
    limits,
    one_line,
    parse_seeds,
    print_path,
)
from holdfast.core.watch import Watch

if TYPE_CHECKING:
    from holdfast.core.recommendation_record import Recommendation, Tried
    from holdfast.core.terminal import Terminal

Data = Annotated[str, typer.Argument(help="Your training rows: a file, or a source's settings as YAML.")]
Model = Annotated[str, typer.Option(help="The model that is to be tuned: a folder, a Hub id, pocket:aligned.")]
Safe = Annotated[str | None, typer.Option(help="Refused requests (`messages`), for defences that need some.")]
Tune = Annotated[str | None, typer.Option(help="How it is tuned: settings as YAML, such as '{epochs: 1}'.")]
Rows = Annotated[int, typer.Option(min=20, help="The most rows that are tuned on.")]
FewSeeds = Annotated[str, typer.Option(help="Seeds of tuning, such as 0,1,2.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print recommendation.json and nothing else.")]
RecommendOut = Annotated[
    Path | None, typer.Option(help="Folder of the run. Default: runs/recommend-<model's name>.", parser=a_path,
                              metavar=PATH)
]  # fmt: skip


def recommend(
    data: Data, model: Model, benchmark: Benchmark = None, over_refusal: OverRefusal = None, utility: Utility = None,
    judge: Judges = None, safe: Safe = None, tune: Tune = None, rows: Rows = 200, seeds: FewSeeds = "0",
    system: System = None, generate: Generate = None, out: RecommendOut = None, as_json: AsJson = False,
    max_usd: MaxUsd = None, max_hours: MaxHours = None, workers: Workers = None, replace: Replace = False,
) -> None:  # fmt: skip
    """Which defence should these rows be tuned with? The best few are tried on a small budget."""
    from holdfast.audit import recommend as recommending
    from holdfast.audit.setup import short_name
    from holdfast.core.recommendation_record import RECOMMENDATION
    from holdfast.core.record_file import text_of
    from holdfast.core.watch import watching
    from holdfast.core.workers import default_workers

    wanted = recommending.Wanted(
        data, model, benchmark, over_refusal, utility, tuple(judge or ()), safe, tune, rows, parse_seeds(seeds),
        system, generate,
    )  # fmt: skip
    folder = out or Path("runs") / f"recommend-{short_name(model)}"
    terminal = console()
    with watching(False) if as_json else Watch(terminal) as watcher:
        made, _ = recommending.recommend(
            wanted, folder, workers or default_workers(), watcher, limits(max_usd, max_hours), replace
        )
    if as_json:
        typer.echo(text_of(made), nl=False)
        return
    _show(terminal, made)
    for title, name in (("Page", "report.html"), ("For machines", RECOMMENDATION)):
        print_path(terminal, title, folder / name)


def _show(terminal: Terminal, made: Recommendation) -> None:
    """Which to use, what was tried, and what could not be seen."""
    from rich.text import Text

    from holdfast.report.layout import STAND_IN

    word = "No defence can be recommended" if made.chosen is None else f"Use: {made.chosen}"
    terminal.print(Text(word, style="bold"))
    terminal.print(made.why, soft_wrap=True)
    terminal.print(_table(made.tried))
    if made.study:
        terminal.print("In a study's condition:", style="dim")
        terminal.print(Text(f"  {one_line(made.study)}"), soft_wrap=True)
        terminal.print("In a TRL script:", style="dim")
        terminal.print(Text("\n".join(f"  {line}" for line in made.trl.splitlines())), soft_wrap=True)
    terminal.print("What this could not have seen:")
    for line in made.unseen:
        terminal.print(f"- {line}", soft_wrap=True)
    if made.stand_in:
        terminal.print(STAND_IN, style="yellow", soft_wrap=True)


def _table(tried: tuple[Tried, ...]) -> object:
    from rich.table import Table
    from rich.text import Text

    from holdfast.report.arena import percent
    from holdfast.report.layout import interval

    table = Table(title="Tried on your rows (%)", title_justify="left")
    for heading in (
        "defence",
        "harmful",
        "95 % interval",
        "task learnt",
        "utility kept",
        "over-refusal",
        "broken",
    ):
        table.add_column(heading, justify="left" if heading == "defence" else "right")
    for each in tried:
        rate = each.rate
        name = f"{each.name}\n  {each.refused}" if each.refused else each.name
        table.add_row(
            Text(name), percent(rate.value), interval("harmfulness_rate", rate.low, rate.high, rate.over),
            *(percent(value) for value in (each.task_gain, each.utility_kept, each.over_refusal, each.broken)),
        )  # fmt: skip
    return table
