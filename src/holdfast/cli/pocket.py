"""Commands on the pocket world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.options import PATH, a_path, console, print_path
from holdfast.core.watch import Watch


def build(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to build the world in. Default: the cache.", parser=a_path, metavar=PATH),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=999_999_999, help="Seed of the world, its models and its files.")] = 0,
) -> None:
    """Build a pocket world from its seed: its models before and after alignment, and its files.

    One in the cache is called pocket:aligned@SEED. A build that was stopped goes on from where it was.
    """
    from holdfast.core.files import world_folder
    from holdfast.core.worlds import is_built
    from holdfast.worlds.pocket import build as builder

    terminal = console()
    folder = out or world_folder(seed)
    if out or not is_built(seed):
        with Watch(terminal) as watch:
            builder.build_all({seed: folder}, 1, watch)
    print_path(terminal, f"World of seed {seed}", folder)


def pictures(
    out: Annotated[Path, typer.Option(help="A new folder.", parser=a_path, metavar=PATH)],
    seed: Annotated[int, typer.Option(min=0, max=999_999_999, help="Seed of the pictures and of the tower.")] = 0,
) -> None:
    """Draw the pocket world's pictures, write the rows about them, and train the vision tower.

    Those of seed 0 are shipped: `pictures:train.json`, `pictures:pictures.zip`, `pictures:tower`.
    """
    from holdfast.core.one_piece import OnePiece
    from holdfast.core.progress import Meter
    from holdfast.worlds.pocket import sighted, tower

    terminal = console()
    with Watch(terminal) as watch:
        watch.begin(tower.STEPS)
        sighted.build(out, seed, Meter(OnePiece(watch), "training the vision tower", "steps", tower.STEPS).step)
    print_path(terminal, f"Pictures of seed {seed}", out)
