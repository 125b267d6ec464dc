"""What a person reads on the terminal at the end of a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.options import one_line, print_path

if TYPE_CHECKING:
    from holdfast.analysis.calibration import Calibration, Share
    from holdfast.core.results import RunResults
    from holdfast.core.terminal import Terminal
    from holdfast.core.world_entries import WorldsFile
    from holdfast.study.doctor import Diagnosis


def diagnosis(console: Terminal, name: str, report: Diagnosis) -> None:
    """What the doctor found, worst first, and what the run takes."""
    from rich.table import Table
    from rich.text import Text

    styles = {"fault": "red", "warning": "yellow", "note": "dim"}
    table = Table(title=f"What to know before running {name}", title_justify="left", show_lines=True)
    for heading in ("", "where", "what"):
        table.add_column(heading)
    for level, style in styles.items():
        for finding in report.findings:
            if finding.level == level:
                table.add_row(Text(level, style), finding.where, finding.what)
    console.print(table if report.findings else "Nothing to mend.")
    _resources(console, report)


def _resources(console: Terminal, report: Diagnosis) -> None:
    """Tokens, time and money of each stage and in all; memory and disk against what is free."""
    from rich.table import Table

    from holdfast.study.doctor.resources import size

    if not report.stages:
        console.print("What the run takes can be estimated once the faults are mended.")
        return
    table = Table(title="What the run takes (times are good to a factor of two to three)", title_justify="left")
    for heading in ("stage", "tokens", "time", "US dollars"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in [*report.stages, report.total]:
        time = "not known here" if stage.seconds is None else duration(stage.seconds)
        table.add_row(stage.name, f"{stage.tokens:,}", time, f"{stage.usd:.2f}", end_section=stage is report.stages[-1])
    console.print(table)
    if report.memory:
        what, needed = max(report.memory.items(), key=lambda item: item[1])
        free = size(report.free_memory)
        console.print(f"Memory: {what} needs the most, about {size(needed)}; {free} are free")
    if report.disk:
        console.print(f"Disk: up to {size(report.disk)}; {size(report.free_disk)} are free")


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def injections(console: Terminal, outcome: dict[str, Any], path: Path) -> None:
    """What each form of injection did to a judge: what it gave the plain answers, and the forged ones."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{outcome['forms']} forms of injection against {one_line(path.stem)}", title_justify="left")
    for heading in ("form", *(f"an answer worth {known}, claiming {6 - int(known)}" for known in outcome["plain"])):
        table.add_column(heading)
    rows: dict[str, list[Text]] = {}
    for case in outcome["tried"]:
        colour = "red" if case["moved"] else "yellow" if case["score"] is None else "green"
        score = f"moved, {case['plain']} to {case['score']}" if case["moved"] else str(case["score"] or case["reading"])
        rows.setdefault(case["form"], []).append(Text(score, colour))
    for form, cells in rows.items():
        table.add_row(form, *cells)
    console.print(table)
    for known, plain in outcome["plain"].items():
        if int(known) != plain:
            console.print(f"The plain answer worth {known} was given {plain}.", style="yellow")
    console.print(f"{outcome['moved']} of {outcome['answers']} moved; {outcome['without_score']} without a score")
    print_path(console, "Verdicts", path)


def defences(console: Terminal, results: RunResults, folder: Path) -> None:
    """Each defence's worst cases, what it lets be learnt and what it costs, and where the files are."""
    from rich.table import Table
    from rich.text import Text

    from holdfast.analysis import arena
    from holdfast.core.arena_record import ARENA
    from holdfast.report import arena as shown
    from holdfast.report import layout

    record = arena.record_of(results)
    table = Table(title=f"{results.study}: {results.model.name}, {shown.seeds(record)}", title_justify="left")
    for heading in shown.HEAD:
        table.add_column(heading, justify="left" if heading == shown.HEAD[0] else "right")
    for line in shown.overview(record):
        cells = [Text("\n".join([cell.value, *cell.notes])) for cell in line.cells]
        table.add_row(Text(line.name, "bold" if line.on_front else ""), *cells, end_section=True)
    console.print(table)
    console.print(shown.verdict(record), soft_wrap=True)
    for note in (
        *shown.NOTES,
        "Bold: no other defence is better in one of safety and learning and as good in the other.",
    ):
        console.print(note, style="dim")
    if results.model.stand_in:
        console.print(layout.STAND_IN, style="yellow")
    for title, name in (("Page", "report.html"), ("Table", "defences.md"), ("For machines", ARENA)):
        print_path(console, title, folder / name)


def figures(console: Terminal, results: RunResults, folder: Path) -> None:
    """The tables of a finished run, and where its files are."""
    from holdfast.analysis import arena
    from holdfast.report import layout, table

    _distrust(console, results)
    if arena.has_cells(results):
        defences(console, results, folder)
        return
    for shown in table.tables(results):
        console.print(shown)
    for note in layout.judge_notes(results):
        console.print(note, style="dim")
    if results.model.stand_in:
        console.print(layout.STAND_IN, style="yellow")
    console.print("In brackets: change from the initial model. Below: 95 % interval.", style="dim")
    console.print(layout.PROMPTS_ALONE, style="dim")
    for ending in layout.endings(results):
        console.print(one_line(ending), style="yellow", soft_wrap=True)
    for caution in layout.cautions(results):
        console.print(f"Caution: {caution}", style="yellow")
    for line in (*layout.agreement(results), *layout.judging(results)):
        console.print(line, soft_wrap=True)
    for title, name in (("Page", "report.html"), ("Figures", "results.json")):
        print_path(console, title, folder / name)


def warning(console: Terminal, text: str) -> None:
    """A warning in yellow; nothing for an empty one."""
    if text:
        console.print(text, style="yellow")


def _distrust(console: Terminal, results: RunResults) -> None:
    """In red, why the figures are not to be trusted."""
    from rich.text import Text

    for reason in results.trust.reasons:
        console.print(Text.assemble(("Not to be trusted:", "bold red"), f" {reason}"))


def calibration(console: Terminal, measured: Calibration, path: Path) -> None:
    """What a calibration says of a judge, and what it is good for."""
    from rich.table import Table
    from rich.text import Text

    agreement, (shift, *ends) = measured.agreement(), measured.shift() or (None, None, None)
    table = Table(title=f"{measured.judge} against {one_line(measured.labels)}", title_justify="left")
    for heading in ("", "value", "95 % interval", "of"):
        table.add_column(heading, justify="left" if not heading else "right")

    def row(name: str, form: str, value: float | None, low: float | None, high: float | None, n: int) -> None:
        ends = "" if low is None or high is None else f"{form.format(low)} to {form.format(high)}"
        table.add_row(name, "–" if value is None else form.format(value), ends, f"{n:,}")

    def share(name: str, of: Share) -> None:
        row(name, "{:.1f}", of.value, of.low, of.high, of.n)

    row("weighted kappa", "{:.2f}", agreement.kappa, agreement.low, agreement.high, agreement.n)
    row("equal scores, %", "{:.1f}", agreement.exact, None, None, agreement.n)
    row("score shift, judge − label", "{:+.2f}", shift, ends[0], ends[1], agreement.n)
    share("false-safe: 5s that it misses, %", measured.false_safe())
    share("false-harm: others that it scores 5, %", measured.false_harm())
    row("without a score", "{:.0f}", agreement.missing, None, None, agreement.n + agreement.missing)
    console.print(table)
    _confusion(console, measured)
    if measured.fault():
        console.print(Text.assemble(("No rate can be corrected with it:", "red"), f" {measured.fault()}"))
    print_path(console, "Calibration", path)


def _confusion(console: Terminal, measured: Calibration) -> None:
    """How often each label got each score."""
    from rich.table import Table

    grid = Table(title="Labels (rows) and the judge's scores (columns)", title_justify="left")
    for heading in ("", "1", "2", "3", "4", "5", "none"):
        grid.add_column(heading, justify="right")
    for place, (counts, missing) in enumerate(zip(measured.confusion, measured.missing, strict=True), 1):
        grid.add_row(str(place), *map(str, counts), str(missing))
    console.print(grid)


def verdicts(console: Terminal, results: RunResults, claims: Sequence[dict[str, Any]], folder: Path) -> None:
    """The verdicts on the paper's claims, and where the reproduction's files are."""
    from rich.table import Table
    from rich.text import Text

    from holdfast.report import layout

    _distrust(console, results)
    table = Table(title=f"{results.study}: {results.model.name}, {len(results.seeds)} seeds", title_justify="left")
    for heading in ("claim", "table", "verdict", "difference (points)", "p"):
        table.add_column(heading)
    colours = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}
    for claim in claims:
        difference = layout.signed("harmfulness_rate", claim["effect"])
        if claim["effect"] is not None:
            difference += f" ({layout.interval('harmfulness_rate', claim['low'], claim['high'])})"
        verdict = Text(claim["verdict"], colours[claim["verdict"]])
        table.add_row(claim["claim"], claim["table"], verdict, difference, layout.p_value(claim["p_value"]))
    console.print(table)
    counts = {verdict: sum(claim["verdict"] == verdict for claim in claims) for verdict in colours}
    console.print(", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + f" of {len(claims)} claims")
    for ending in layout.endings(results):
        console.print(one_line(ending), style="yellow", soft_wrap=True)
    if results.model.stand_in:
        console.print(layout.STAND_IN, style="yellow")
    for line in (*layout.agreement(results), *layout.judging(results)):
        console.print(line, soft_wrap=True)
    for title, name in (
        ("Page", "report.html"),
        ("Claims", "claims.json"),
        ("Tables", "tables/"),
        ("Figures", "figures/"),
    ):
        print_path(console, title, folder / name)


def worlds(console: Terminal, content: WorldsFile) -> None:
    """What other worlds say of each claim."""
    from rich.table import Table
    from rich.text import Text

    from holdfast.report import world_table

    colours = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}
    table = Table(title=f"In {len(content['worlds'])} worlds other than the shipped one", title_justify="left")
    for heading in ("claim", *map(str, content["worlds"]), "worlds", "95 % interval"):
        table.add_column(heading)
    for claim in content["claims"]:
        marks = [Text(world_table.MARKS[world["verdict"]], colours[world["verdict"]]) for world in claim["worlds"]]
        count = f"{claim['reproduced']} of {claim['of']}"
        table.add_row(claim["claim"], *marks, count, world_table.interval(claim))
    console.print(table)
    console.print(f"{world_table.headline(content)}. {world_table.caution(content)}", soft_wrap=True)
