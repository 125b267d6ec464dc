"""The paper in several pocket worlds: each of its claims as *k of n worlds*, so that no verdict hangs on one draw.

runs/reproduce-pocket/
  ...                  the run in the shipped world, to which the settings were tuned
  worlds/<seed>/       the same run in the world of that seed
  worlds.json          what the worlds say of each claim; docs/worlds.md explains each field
  worlds.md            the same as a table
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.analysis import over_worlds
from holdfast.core.errors import StudyError
from holdfast.core.files import write_atomically
from holdfast.core.progress import clock
from holdfast.core.protocols import Watcher
from holdfast.core.results import RunResults
from holdfast.core.world_entries import SCHEMA, WORLDS, InWorld, OverWorlds, WorldsFile
from holdfast.paper import reproduce as paper
from holdfast.paper.reproduce import Reproduction
from holdfast.report import world_table
from holdfast.worlds.pocket import build

PRESET = "pocket"
"""The preset that can be run in other worlds."""

FOLDER = "worlds"
"""The folder of the other worlds' runs, inside that of the run in the shipped one."""

MOST = 100
"""The most worlds of one run."""

Entries = list[dict[str, Any]]
Run = Callable[[Reproduction, Path], tuple[RunResults, Entries]]
"""Does a reproduction in a folder, and returns its results and the entries of its claims."""


def check(seeds: Sequence[int], preset: str, base: str | None) -> None:
    """Refuse what is no choice of other worlds.

    Raises:
        StudyError: another preset or base, world 0 or a world twice.
    """
    if preset != PRESET or base is not None:
        raise StudyError(
            f"--worlds are pocket worlds, each with a model of its own: use --model {PRESET}, and no --base."
        )
    if not seeds or 0 in seeds or len(set(seeds)) < len(seeds) or len(seeds) > MOST:
        raise StudyError(
            f"--worlds takes one to {MOST} seeds of worlds, each once, such as 6,7,8. World 0, the shipped one, is "
            "run beside them in any case and not counted: the settings were tuned to it."
        )


def reproduce(
    seeds: Sequence[int], wanted: Reproduction, prepare: Callable[[str | None], Reproduction], folder: Path, run: Run,
    workers: int, watcher: Watcher,
) -> tuple[RunResults, Entries, WorldsFile]:  # fmt: skip
    """Do the reproduction in the shipped world and in others, and write what all of them say of each claim.

    Worlds that are missing are built in the cache first. What is finished is not done again.

    Args:
        seeds: the other worlds.
        wanted: the reproduction in the shipped world.
        prepare: gives the same reproduction for another model.
        folder: the folder of the shipped world's run.
        run: does a reproduction in a folder.
        workers: number of worlds that are built at a time.
        watcher: is told the progress.

    Raises:
        HoldfastError: as `reproduce.reproduce`; WorkError for a world that could not be built.
    """
    build.build_missing(seeds, workers, watcher)
    everywhere, begun = {}, time.monotonic()
    for done, seed in enumerate(seeds):
        seconds = (time.monotonic() - begun) / done * (len(seeds) + 1 - done) if done else None
        left = f"about {clock(seconds)}" if seconds is not None else "unknown time"
        watcher.note(f"World {seed}, {done + 1} of {len(seeds)}; {left} left for all, the shipped one included")
        _, everywhere[seed] = run(prepare(f"pocket:aligned@{seed}"), folder / FOLDER / str(seed))
    watcher.note("World 0, the shipped one")
    results, shipped = run(wanted, folder)
    content = summarise(results.study, len(results.seeds), shipped, everywhere)
    write_atomically(folder / WORLDS, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_atomically(folder / "worlds.md", world_table.markdown(content))
    paper.show(folder, results, shipped)
    return results, shipped, content


def summarise(study: str, n_seeds: int, shipped: Entries, everywhere: Mapping[int, Entries]) -> WorldsFile:
    """What the worlds say of each claim. `everywhere`: seed of a world → the entries of its claims."""
    by_world = {seed: {entry["id"]: entry for entry in entries} for seed, entries in everywhere.items()}
    claims = [
        _over(entry, [_in_world(seed, entries[entry["id"]]) for seed, entries in by_world.items()]) for entry in shipped
    ]
    return WorldsFile(schema=SCHEMA, study=study, worlds=list(everywhere), seeds=n_seeds, claims=claims)


def _in_world(seed: int, entry: Mapping[str, Any]) -> InWorld:
    return InWorld(world=seed, verdict=entry["verdict"], effect=entry["effect"], low=entry["low"], high=entry["high"])


def _over(shipped: Mapping[str, Any], worlds: list[InWorld]) -> OverWorlds:
    """What the worlds say of one claim."""
    k = sum(world["verdict"] == "reproduced" for world in worlds)
    low, high = over_worlds.share(k, len(worlds))
    effects = [world["effect"] for world in worlds if world["effect"] is not None]
    effect, effect_low, effect_high = over_worlds.mean(effects) if len(effects) == len(worlds) else (None, None, None)
    return OverWorlds(
        id=shipped["id"], table=shipped["table"], claim=shipped["claim"], shipped=_in_world(0, shipped), worlds=worlds,
        reproduced=k, of=len(worlds), low=100 * low, high=100 * high,
        effect=effect, effect_low=effect_low, effect_high=effect_high,
    )  # fmt: skip
