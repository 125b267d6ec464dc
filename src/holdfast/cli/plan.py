"""The command `plan`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.options import PATH, a_path, complete_study, console, print_path

if TYPE_CHECKING:
    from holdfast.audit.plan import AuditPlan
    from holdfast.core.terminal import Terminal
    from holdfast.study.doctor.fleet import Takes


def plan(
    study: Annotated[
        str | None, typer.Argument(help="A study whose prompts and seeds are taken.", autocompletion=complete_study)
    ] = None,
    prompts: Annotated[int | None, typer.Option(min=1, help="Harmfulness prompts. Default: 330.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Tuned models, one a seed. Default: 1.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each prompt, of one tuned model.")] = 1,
    base_rate: Annotated[float, typer.Option(help="Harmfulness rate of the base, in percent.")] = 0.0,
    true_change: Annotated[float, typer.Option(help="Points by which tuning truly raises it.")] = 0.0,
    margin: Annotated[float | None, typer.Option(help="Points that are allowed. Default: the policy's.")] = None,
    seed_sd: Annotated[float, typer.Option(help="How much seeds differ, on the logit scale.")] = 0.5,
    power: Annotated[float | None, typer.Option(help="The wanted chance of an answer. Default: the policy's.")] = None,
    policy: Annotated[Path | None, typer.Option(help="A policy file. Default: the shipped one.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a question, its answer and its verdict.")] = 600,
    usd_per_million: Annotated[float, typer.Option(min=0, help="US dollars for a million tokens.")] = 0.0,
    machine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[xN][=USD]",
            help="With a study: what its run takes on N machines at so many dollars an hour each, such as h100x8=2.5. "
            "Names: here (a core or GPU of this machine, measured), h200, h100, a100, l40s, l4. May be given again.",
        ),
    ] = None,
    fit: Annotated[
        list[Path] | None,
        typer.Option(help="A run folder of the study on this machine, to which `here` is fitted. May be given again."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for plan.json and the curve, plan.svg.", parser=a_path, metavar=PATH)
    ] = None,
) -> None:
    """Tell what an audit can see, what it costs, and how many prompts a wanted difference takes.

    With a study and --machine also: how many machine hours and dollars its run takes on them.
    """
    from holdfast import api
    from holdfast.core.files import write_atomically
    from holdfast.report import power_curve

    terminal = console()
    with terminal.status("Computing chances"):
        planned = api.plan(
            study, prompts=prompts, seeds=seeds, samples=samples, base_rate=base_rate, true_change=true_change,
            margin=margin, seed_sd=seed_sd, power=power, policy=policy, tokens=tokens, usd_per_million=usd_per_million,
        )  # fmt: skip
    _show(terminal, planned)
    takes = _takes(study, seeds, machine, fit or [], terminal) if study and machine else []
    if out:
        if takes:
            write_atomically(out / "machines.json", json.dumps([asdict(each) for each in takes], indent=1) + "\n")
        print_path(terminal, "Plan", planned.write(out))
        points = [(point.change, point.passes, point.fails) for point in planned.curve]
        write_atomically(out / "plan.svg", power_curve.curve(points, planned.margin).svg())
        print_path(terminal, "Curve", out / "plan.svg")


def _takes(
    study: str, seeds: int | None, machines: list[str], fit: list[Path], terminal: Terminal
) -> list[Takes]:  # fmt: skip
    """What a run of the study takes on each of the machines, as a table, too."""
    from holdfast.core.workers import quiet
    from holdfast.study import doctor, loader
    from holdfast.study.doctor import fleet

    quiet()
    fleets = [fleet.asked(text) for text in machines]
    settings = loader.read(loader.find(study))
    with terminal.status("Reading rows and prompts"):
        facts = doctor.facts_of(settings, tuple(range(seeds)) if seeds else settings.seeds)
        factor, n_fitted = fleet.fitted(facts, fit) if fit else (1.0, 0)
        takes = [fleet.takes(facts, each, factor if each.name == fleet.HERE else 1.0) for each in fleets]
    _show_machines(terminal, settings.name, takes)
    if n_fitted:
        terminal.print(
            f"Tuning took {factor:.2f} times what the model says, in {n_fitted} training runs: `here` has it."
        )
    return takes


def _show_machines(console: Terminal, name: str, takes: list[Takes]) -> None:
    """What a run takes on each fleet."""
    from rich.table import Table

    table = Table(title=f"A run of {name}, answers as long as they may be", title_justify="left")
    for heading in ("machines", "hours", "tuning", "answering", "machine hours", "idle", "US dollars", "speed"):
        table.add_column(heading, justify="left" if heading == "machines" else "right")
    for each in takes:
        usd = "–" if each.usd is None else f"{each.usd:,.2f}"
        hours = (each.hours, each.tuning_hours, each.answering_hours, each.machine_hours)
        speed = "measured" if each.measured else "as stated"
        table.add_row(f"{each.count} × {each.name}", *(f"{n:,.3g}" for n in hours), f"{each.idle:.0%}", usd, speed)
    console.print(table)


def _show(console: Terminal, planned: AuditPlan) -> None:
    """The table of sizes, the curve, and what they say."""
    from rich.table import Table

    asked = f"{planned.seeds} seed(s), {planned.samples} answer(s) to each prompt"
    title = f"An audit with {asked}; base {planned.base_rate:g} %, allowed rise {planned.margin:g} points"
    table = Table(title=title, title_justify="left")
    change = f"{planned.true_change:+g} points"
    for heading in ("prompts", f"passes at {change}", f"fails at {change}", f"rise that fails with {planned.power:.0%}",
                    "answers", "tokens", "US dollars"):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in planned.rows:
        rise = "none" if row.smallest_rise is None else f"{row.smallest_rise:.1f} points"
        style = "bold" if row.prompts == planned.prompts else None
        table.add_row(f"{row.prompts:,}", f"{row.passes:.1f} %", f"{row.fails:.1f} %", rise, f"{row.answers:,}",
                      f"{row.tokens:,}", f"{row.usd:,.2f}", style=style)  # fmt: skip
    console.print(table)
    _curve(console, planned)
    answer = "pass" if planned.true_change < planned.margin else "fail"
    if planned.n_needed is None:
        console.print(f"No number of prompts gives a {answer} with a chance of {planned.power:.0%} at {change}.")
    else:
        console.print(
            f"For a {answer} with a chance of {planned.power:.0%} at {change}: about {planned.n_needed:,} prompts."
        )


def _curve(console: Terminal, planned: AuditPlan) -> None:
    """The chances of each answer across true changes, as bars of 40 characters."""
    console.print(f"With {planned.prompts:,} prompts, at a true rise of (P pass, · cannot tell, F fail):")
    for point in planned.curve[::2]:
        passes, fails = round(0.4 * point.passes), round(0.4 * point.fails)
        bar = "P" * passes + "·" * (40 - passes - fails) + "F" * fails
        console.print(f"{point.change:6.1f}  {bar}  pass {point.passes:.0f} %, fail {point.fails:.0f} %")
