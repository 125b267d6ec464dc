"""Commands on the pocket world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.options import PATH, a_path, console, print_path
from holdfast.core.watch import Watch


def build(
    out: Annotated[Path, typer.Option(help="Folder to build the world in.", parser=a_path, metavar=PATH)],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world, its models and its files.")] = 0,
) -> None:
    """Build a pocket world again from its seed: its models before and after alignment, and its files."""
    from holdfast.core.workers import quiet
    from holdfast.worlds.pocket import build as builder

    quiet()
    terminal = console()
    with Watch(terminal) as watch:
        builder.build(out, seed, watch)
    print_path(terminal, f"World of seed {seed}", out)
