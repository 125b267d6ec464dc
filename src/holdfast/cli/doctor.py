"""The command `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import tables
from holdfast.cli.errors import FOUND
from holdfast.cli.options import (
    Keep,
    MaxHours,
    MaxUsd,
    Out,
    Seeds,
    StudyName,
    Workers,
    console,
    parse_seeds,
    print_path,
)


def doctor(
    study: StudyName, out: Out = None, seeds: Seeds = None, workers: Workers = None, keep_checkpoints: Keep = False,
    max_usd: MaxUsd = None, max_hours: MaxHours = None,
    usd_per_hour: Annotated[float, typer.Option(min=0, help="What an hour of this machine costs.")] = 0.0,
) -> None:  # fmt: skip
    """Tell what would go wrong with a study, and what it takes; no weights are loaded. Exits with 1 on a fault."""
    from holdfast.core.workers import default_workers, quiet
    from holdfast.study import doctor as doctors
    from holdfast.study import loader

    quiet()
    settings = loader.read(loader.find(study))
    folder = out or Path("runs") / settings.name
    terminal = console()
    with terminal.status("Looking at files, template and model"):
        diagnosis = doctors.examine(
            settings, parse_seeds(seeds) if seeds is not None else settings.seeds, workers or default_workers(), folder,
            keep_checkpoints,
        )  # fmt: skip
    diagnosis.price(usd_per_hour)
    diagnosis.check_caps(settings, max_usd, max_hours)
    tables.diagnosis(terminal, settings.name, diagnosis)
    if not any(finding.where == "--out" for finding in diagnosis.faults):
        path = folder / "doctor.json"
        diagnosis.write(path)
        print_path(terminal, "Findings", path)
    if diagnosis.faults:
        raise typer.Exit(FOUND)
