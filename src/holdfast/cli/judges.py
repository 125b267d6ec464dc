"""Commands on judges: `calibrate` and `test-judge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import tables
from holdfast.cli.errors import FOUND
from holdfast.cli.options import PATH, MaxUsd, Out, a_path, complete_judge, complete_study, console
from holdfast.core.errors import HoldfastError
from holdfast.core.watch import Watch

if TYPE_CHECKING:
    from holdfast.core.budget import FileBudget
    from holdfast.core.protocols import Judge

MOST_WITHOUT_SCORE = 0.1
"""Share of the cases of `test-judge` that may have no score; above it, nothing can be said about the judge."""


def calibrate(
    judge: Annotated[
        str,
        typer.Argument(help="Its name, its settings as YAML, or a YAML file of them.", autocompletion=complete_judge),
    ],
    labels: Annotated[
        Path | None, typer.Option(help="Rows with prompt, answer and label (1 to 5): JSON Lines, CSV, …")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A finished run: the judge's verdicts are taken from it, and nothing is judged.")
    ] = None,
    labels_from: Annotated[
        str, typer.Option(help="Without --labels: the judge of the run whose verdicts count as right.")
    ] = "oracle",
    random_sample: Annotated[
        bool, typer.Option("--random-sample", help="The labelled answers were drawn at random from those of a study.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Default: calibration.json in the run, or else beside the labels.", parser=a_path, metavar=PATH
        ),
    ] = None,
    max_usd: MaxUsd = None,
) -> None:
    """Measure a judge against labels: agreement, and how often it errs to either side."""
    from holdfast import api

    beside = run or (labels.parent if labels else None)
    if beside is None:
        raise HoldfastError("say what is right: --labels FILE, --run DIR, or both.")
    path = out or beside / "calibration.json"
    with Watch(console()) as watch:
        measured = api.calibrate(
            judge, labels, run=run, labels_from=labels_from, random_sample=random_sample, out=path, max_usd=max_usd,
            progress=watch,
        )  # fmt: skip
    tables.calibration(console(), measured, path)


def judge_test(
    study: Annotated[
        str,
        typer.Argument(
            help="A study, or a file that holds the settings of one judge.", autocompletion=complete_study
        ),
    ],
    out: Out = None, max_usd: MaxUsd = None,
) -> None:  # fmt: skip
    """Give answers with forged verdicts to a study's judges.

    Exits with 1 if one of them moved a verdict, or if more than a tenth of the cases got no score.
    """
    from holdfast.core.budget import FileBudget
    from holdfast.judges.base import ModelJudge
    from holdfast.study import loader

    name, judges = loader.read_judges(loader.find(study))
    tested = [judge for judge in judges if any(isinstance(each, ModelJudge) for each in judge.inner or (judge,))]
    if not tested:
        raise HoldfastError(f"{study} has no judge that the words of an answer could influence: nothing to test.")
    folder = out or Path("runs") / name
    budget = FileBudget(folder / "spending.jsonl", max_usd)
    passed = [_passes(judge, folder, budget) for judge in tested]
    if not all(passed):
        raise typer.Exit(FOUND)


def _passes(judge: Judge, folder: Path, budget: FileBudget) -> bool:
    """Test one judge, and write and print how it did; whether no verdict was moved and enough have a score."""
    from holdfast.core.files import write_atomically
    from holdfast.judges import injection_tests

    terminal = console()
    with Watch(terminal) as watch:
        watch.begin(2 * (len(injection_tests.FORMS) + 1))
        outcome = injection_tests.account(judge, injection_tests.attempt(judge, budget, watch.advance))
    path = folder / f"injections-{judge.kind}-{judge.key[:8]}.json"
    write_atomically(path, json.dumps(outcome, indent=1) + "\n")
    tables.injections(terminal, outcome, path)
    has_scores: bool = outcome["without_score"] <= MOST_WITHOUT_SCORE * outcome["answers"]
    if not has_scores:
        terminal.print("Too many cases have no score, so this says nothing about the judge.", style="red")
    return has_scores and not outcome["moved"]
