"""Commands on a study's run: `run`, `report` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import audit_tables, tables
from holdfast.cli.options import (
    PATH,
    Fresh,
    Keep,
    MaxHours,
    MaxUsd,
    Place,
    RayAddress,
    Replace,
    RunFolder,
    Seeds,
    ShowAnswers,
    StudyName,
    Workers,
    a_path,
    console,
    limits,
    one_line,
    parse_seeds,
    print_path,
)
from holdfast.core.errors import HoldfastError
from holdfast.core.watch import Watch


def run(
    study: StudyName, out: Place = None, seeds: Seeds = None, workers: Workers = None,
    show_answers: ShowAnswers = False, keep_checkpoints: Keep = False,
    max_usd: MaxUsd = None, max_hours: MaxHours = None, fresh_verdicts: Fresh = False, replace: Replace = False,
    ray: RayAddress = None,
) -> None:  # fmt: skip
    """Tune, generate answers, judge and compare: everything that a study asks for and that is not done yet."""
    from holdfast.core.files import read_text
    from holdfast.core.mirror import working_copy
    from holdfast.study import loader
    from holdfast.study import run as runner
    from holdfast.study.cluster import workers_of
    from holdfast.study.results import answer_form

    path = loader.find(study)
    settings = loader.read(path)
    terminal = console()
    with Watch(terminal) as watch, working_copy(out or Path("runs") / settings.name, watch.note) as folder:
        done = runner.run(
            settings, read_text(path), folder, parse_seeds(seeds) if seeds is not None else settings.seeds,
            workers_of(workers, ray), watch, keep_checkpoints, limits(max_usd, max_hours), fresh_verdicts,
            replace,
        )  # fmt: skip
        runner.write_page(done.run_folder, done.results, show_answers)
    tables.figures(terminal, done.results, folder)
    tables.warning(terminal, answer_form.hint(done.results, done.run_folder, show_answers))


def report(folder: RunFolder, show_answers: ShowAnswers = False) -> None:
    """Print a finished run's table and write its page again."""
    from holdfast.audit import run as audits
    from holdfast.core.audit_record import AUDIT
    from holdfast.core.run_folder import RunFolder
    from holdfast.paper import reproduce as paper
    from holdfast.study import mending
    from holdfast.study.results import answer_form
    from holdfast.study.run import write_page

    run_folder = RunFolder(folder)
    results = run_folder.results()
    mending.check(results, run_folder)
    if (folder / AUDIT).is_file():
        audited = audits.read(folder)
        audits.write_page(audited, show_answers)
        audit_tables.show(console(), audited.record, folder)
        return
    claims = paper.claims_of(folder)
    if claims is None:
        write_page(run_folder, results, show_answers)
        tables.figures(console(), results, folder)
        tables.warning(console(), answer_form.hint(results, run_folder, show_answers))
    elif show_answers:
        raise HoldfastError(
            f"{folder} holds a reproduction, whose page shows no answers; `holdfast run` makes one that does."
        )
    else:
        paper.show(folder, results, claims)
        tables.verdicts(console(), results, claims, folder)
        if content := paper.worlds_of(folder):
            tables.worlds(console(), content)


def export(
    folder: RunFolder,
    inspect: Annotated[
        Path,
        typer.Option(help="A new folder for logs that `inspect view --log-dir` shows.", parser=a_path, metavar=PATH),
    ],
) -> None:
    """Write a finished run as logs of Inspect, with every answer: one for each condition, seed and set."""
    from holdfast.core.run_folder import RunFolder
    from holdfast.integrations.inspect.export import export as write

    logs = write(RunFolder(folder), inspect)
    terminal = console()
    print_path(terminal, f"{len(logs)} logs, with the models' answers", inspect)
    terminal.print(f"To read them: inspect view --log-dir {one_line(inspect)}", soft_wrap=True)
