"""One command for each verb. The only place that prints or exits."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import tables
from holdfast.core.errors import HoldfastError
from holdfast.core.version import __version__
from holdfast.core.watch import Watch

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast.study.run import Limits

app = typer.Typer(
    help="Measure how much of an aligned language model's safety is lost when it is fine-tuned.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
pocket = typer.Typer(help="The pocket world: a fictional stand-in with a very small model.", no_args_is_help=True)
app.add_typer(pocket, name="pocket")

StudyName = Annotated[str, typer.Argument(help="A study file, or the name of a shipped study such as `demo`.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the run; runs/<study's name> if not given.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2; the study's own if not given.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; one a core if not given, one on a GPU.")]
ShowAnswers = Annotated[bool, typer.Option("--show-answers", help="Put the models' answers on the page.")]
Keep = Annotated[bool, typer.Option("--keep-checkpoints", help="Keep tuned weights once they are answered for.")]

Fresh = Annotated[bool, typer.Option("--fresh-verdicts", help="Buy verdicts anew that were bought before.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace another study's results; previous/ keeps them.")]
MaxUsd = Annotated[float | None, typer.Option(min=0, help="US dollars that the run's folder may cost in all.")]
MaxHours = Annotated[float | None, typer.Option(min=0, help="Hours after which nothing more is begun.")]


@contextmanager
def _mendable() -> Iterator[None]:
    """Print what a user can mend as a message, not as a traceback."""
    try:
        yield
    except HoldfastError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.secho("Stopped. What was finished is kept; the same command goes on from there.", err=True)
        raise typer.Exit(130) from None


def _console() -> Console:
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 120
    return Console(highlight=False, width=wide)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"holdfast {__version__}")
        raise typer.Exit


@app.command()
def run(
    study: StudyName, out: Out = None, seeds: Seeds = None, workers: Workers = None,
    show_answers: ShowAnswers = False, keep_checkpoints: Keep = False,
    max_usd: MaxUsd = None, max_hours: MaxHours = None, fresh_verdicts: Fresh = False, replace: Replace = False,
) -> None:  # fmt: skip
    """Tune, ask, judge and compare: everything that a study asks for and is not done yet."""
    with _mendable():
        from holdfast.core.workers import default_workers
        from holdfast.study import loader as studies
        from holdfast.study import run as runner

        path = studies.find(study)
        read = studies.read(path)
        folder = out or Path("runs") / read.name
        chosen = _seeds(seeds) if seeds else read.seeds
        console = _console()
        with Watch(console) as watch:
            done = runner.run(
                read, path.read_text(encoding="utf-8"), folder, chosen, workers or default_workers(), watch,
                keep_checkpoints, _limits(max_usd, max_hours), fresh_verdicts, replace,
            )  # fmt: skip
        runner.write_page(done.store, done.results, show_answers)
        tables.figures(console, done.results, folder)


@app.command()
def doctor(
    study: StudyName, out: Out = None, seeds: Seeds = None, workers: Workers = None,
    max_usd: MaxUsd = None, max_hours: MaxHours = None,
    usd_per_hour: Annotated[float, typer.Option(min=0, help="What an hour of this machine costs.")] = 0.0,
) -> None:  # fmt: skip
    """Tell what would go wrong with a study, and what it takes; no weights are loaded. Exits with 1 on a fault."""
    with _mendable():
        from holdfast.core.workers import default_workers, quiet
        from holdfast.study import doctor as doctors
        from holdfast.study import loader as studies

        quiet()
        read = studies.read(studies.find(study))
        chosen = _seeds(seeds) if seeds else read.seeds
        with _console().status("Looking at files, template and model"):
            found = doctors.examine(read, chosen, workers or default_workers())
        found.price(usd_per_hour)
        found.check_caps(max_usd, max_hours)
        path = (out or Path("runs") / read.name) / "doctor.json"
        found.write(path)
        tables.diagnosis(_console(), read.name, found, path)
        if found.faults:
            raise typer.Exit(1)


@app.command()
def reproduce(
    parts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TABLE]...", help="table1 … table5, figure1, figure2, figure4a, figure4b; all."),
    ] = None,
    model: Annotated[str, typer.Option(help="A preset: pocket, llama-2-7b-chat or hosted.")] = "pocket",
    base: Annotated[
        str | None, typer.Option(help="Another model for the preset's settings: a folder or a Hub id.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds; the preset's own if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/reproduce-<model> if not given.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of the files that a preset names; `pocket` needs none.")] = Path(
        "data"
    ),
    judge: Annotated[
        str | None, typer.Option(help="A judge that decides, beside the preset's: settings as YAML, or a file of them.")
    ] = None,
    workers: Workers = None,
    max_usd: MaxUsd = None,
    max_hours: MaxHours = None,
    replace: Replace = False,
) -> None:
    """Reproduce the paper's tables and figures, and give a verdict on each of its claims."""
    with _mendable():
        from holdfast.core.workers import default_workers
        from holdfast.paper import reproduce as paper

        wanted = paper.prepare(model, parts or (), base, data, judge)
        folder = out or Path("runs") / f"reproduce-{model}"
        console = _console()
        chosen = range(seeds) if seeds else wanted.study.seeds
        with Watch(console) as watch:
            results, claims = paper.reproduce(
                wanted, folder, tuple(chosen), workers or default_workers(), watch, _limits(max_usd, max_hours), replace
            )
        tables.verdicts(console, results, claims, folder)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished run.")], show_answers: ShowAnswers = False
) -> None:
    """Print a finished run's table and write its page again."""
    with _mendable():
        from holdfast.core.run_folder import Store
        from holdfast.paper import reproduce as paper
        from holdfast.study.run import write_page

        store = Store(folder)
        results = store.results()
        claims = paper.claims_of(folder)
        if claims is None:
            write_page(store, results, show_answers)
            tables.figures(_console(), results, folder)
        elif show_answers:
            raise HoldfastError(
                f"{folder} holds a reproduction, whose page shows no answers; `holdfast run` makes one that does."
            )
        else:
            paper.show(folder, results, claims)
            tables.verdicts(_console(), results, claims, folder)


@app.command()
def calibrate(
    judge: Annotated[str, typer.Argument(help="Its name, its settings as YAML, or a YAML file of them.")],
    labels: Annotated[
        Path | None, typer.Option(help="Rows with prompt, answer and label (1 to 5): JSON Lines, CSV, …")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A finished run whose verdicts of the judge are taken; nothing is judged.")
    ] = None,
    labels_from: Annotated[str, typer.Option(help="Without --labels: the run's judge that is right.")] = "oracle",
    random_sample: Annotated[
        bool, typer.Option("--random-sample", help="The labelled answers were drawn at random from those of a study.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="calibration.json in the run, or beside the labels, if not given."),
    ] = None,
    max_usd: MaxUsd = None,
) -> None:
    """Measure a judge against labels: agreement, and how often it errs to either side."""
    with _mendable():
        from holdfast.analysis import calibration
        from holdfast.core.budget import FileLedger
        from holdfast.core.run_folder import Store
        from holdfast.judges import calibrate as labelling
        from holdfast.study import loader

        beside = run or (labels.parent if labels else None)
        if beside is None or (labels is not None and not labels.is_file()):
            raise HoldfastError(
                f"there is no file {labels}." if labels else "say what is right: --labels FILE, --run DIR, or both."
            )
        rows = labelling.read(labels) if labels else []
        path = out or beside / "calibration.json"
        name = labels.name if labels else ""
        if run:
            found = labelling.from_run(Store(run), judge, labels_from, rows, name, random_sample)
        else:
            ledger = FileLedger(path.with_suffix(".spending.jsonl"), max_usd)
            with Watch(_console()) as watch:
                watch.begin(len(rows))
                reader = loader.judge(judge)
                found = labelling.by_judging(reader, rows, name, random_sample, ledger, watch.advance)
        calibration.write(path, found)
        tables.calibration(_console(), found, path)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    inspect: Annotated[Path, typer.Option(help="A new folder for logs that `inspect view --log-dir` shows.")],
) -> None:
    """Write a finished run as logs of Inspect, with every answer: one for each condition, seed and set."""
    with _mendable():
        from holdfast.core.run_folder import Store
        from holdfast.integrations.inspect.export import export as write

        logs = write(Store(folder), inspect)
        console = _console()
        console.print(f"{len(logs)} logs, with the models' answers, are in [bold]{inspect}[/bold].")
        console.print(f"To read them: inspect view --log-dir {inspect}", soft_wrap=True)


@app.command("test-judge")
def judge_test(
    study: Annotated[str, typer.Argument(help="A study, or a file that holds the settings of one judge.")],
    out: Out = None, max_usd: MaxUsd = None,
) -> None:  # fmt: skip
    """Put answers with forged verdicts to a study's judges. Exits with 1 when one of them moved a verdict."""
    with _mendable():
        from holdfast.core.budget import FileLedger
        from holdfast.core.files import write_atomically
        from holdfast.judges import injection_tests
        from holdfast.judges.base import ModelJudge
        from holdfast.study import loader as studies

        name, every = studies.read_judges(studies.find(study))
        judges = [one for one in every if any(isinstance(each, ModelJudge) for each in one.inner or (one,))]
        if not judges:
            raise HoldfastError(f"{study} has no judge that a model's words could sway, so there is nothing to test.")
        folder, console, moved = out or Path("runs") / name, _console(), False
        ledger = FileLedger(folder / "spending.jsonl", max_usd)
        for judge in judges:
            with Watch(console) as watch:
                watch.begin(2 * (len(injection_tests.FORMS) + 1))
                told = injection_tests.account(judge, injection_tests.attempt(judge, ledger, watch.advance))
            path = folder / f"injections-{judge.kind}-{judge.key[:8]}.json"
            write_atomically(path, json.dumps(told, indent=1) + "\n")
            tables.injections(console, told, path)
            moved = moved or told["moved"] > 0
        if moved:
            raise typer.Exit(1)


@app.command("list")
def list_() -> None:
    """List benchmarks, judges, data sources, defences, back ends and shipped studies."""
    from rich.table import Table

    from holdfast.core.config import summary
    from holdfast.data.benchmarks import BENCHMARKS
    from holdfast.data.training import SOURCES
    from holdfast.judges import JUDGES
    from holdfast.models.generate import GENERATORS
    from holdfast.models.samplers import SAMPLERS
    from holdfast.study.loader import shipped_studies, title
    from holdfast.tuning import TUNERS
    from holdfast.tuning.defences import DEFENCES

    rooms = {
        "Benchmarks": BENCHMARKS, "Judges": JUDGES, "Ways to ask a judge's model": SAMPLERS, "Data sources": SOURCES,
        "Defences": DEFENCES,
        "Tuning back ends": TUNERS, "Answering back ends": GENERATORS,
    }  # fmt: skip
    table = Table(box=None, show_header=False, padding=(0, 2))
    for heading, registry in rooms.items():
        table.add_row(f"[bold]{heading}[/bold]")
        for name, reference in registry.items():
            table.add_row(f"  {name}", summary(reference))
    table.add_row("[bold]Studies[/bold]")
    for path in shipped_studies():
        table.add_row(f"  {path.stem}", title(path))
    _console().print(table)


@pocket.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder to build the world in.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world, its models and its files.")] = 0,
) -> None:
    """Remake a pocket world from its seed: its models before and after alignment, and its files."""
    with _mendable():
        from holdfast.core.workers import quiet
        from holdfast.worlds.pocket import build as builder

        quiet()
        console = _console()
        with Watch(console) as watch:
            builder.build(out, seed, watch)
        console.print(f"The world of seed {seed} is in [bold]{out}[/bold].")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise HoldfastError(
            f"--seeds takes whole numbers with commas between, such as 0,1,2; found {text!r}."
        ) from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise HoldfastError(f"--seeds takes distinct numbers from 0 up; found {text!r}.")
    return seeds


def _limits(max_usd: float | None, max_hours: float | None) -> Limits:
    from holdfast.study.run import Limits

    return Limits(max_usd, time.time() + max_hours * 3600 if max_hours is not None else None)


def main() -> None:
    """The entry point of the `holdfast` command."""
    app()
