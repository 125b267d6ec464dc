"""`worlds.json`: what several pocket worlds say of each of the paper's claims. docs/worlds.md explains each field."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import TypedDict

from holdfast.core.claim_entries import Verdict
from holdfast.core.record_file import RecordFile

WORLDS = "worlds.json"
SCHEMA = 1
"""Raised when a field of `worlds.json` changes its meaning or goes away."""

WORLDS_FILE = RecordFile(WORLDS, SCHEMA, "reproduction", "holdfast reproduce", "--worlds SEEDS", "worlds")


class InWorld(TypedDict):
    """What one world says of a claim."""

    world: int
    verdict: Verdict
    effect: float | None
    low: float | None
    high: float | None


class OverWorlds(TypedDict):
    """One claim, and what the worlds say of it."""

    id: str
    table: str
    claim: str
    shipped: InWorld
    """What world 0 says, to which the settings were tuned. It is not counted."""
    worlds: list[InWorld]
    reproduced: int
    """The worlds in which it is reproduced."""
    of: int
    """The worlds that are counted."""
    low: float
    """The 95 % interval of the share of all such worlds in which it would be, in percent."""
    high: float
    effect: float | None
    """The mean difference over the worlds, in points; None where a world has none."""
    effect_low: float | None
    effect_high: float | None


class WorldsFile(TypedDict):
    """What the file holds."""

    schema: int
    study: str
    worlds: list[int]
    seeds: int
    """Seeds in each world."""
    claims: list[OverWorlds]


def read_worlds(folder: Path) -> WorldsFile:
    """What the `worlds.json` of a folder holds.

    Raises:
        DamagedError: it holds something else.
        RunFolderError: it is missing, of another schema, a link, or no plain file.
    """
    return WORLDS_FILE.read(folder, WorldsFile, _gaps)


def _gaps(content: WorldsFile) -> list[str]:
    """Claims that are not told of every world."""
    seeds = content["worlds"]
    return [
        f"claims: {claim['id']} is not told of each of the worlds {', '.join(map(str, seeds))}"
        for claim in content["claims"]
        if [world["world"] for world in claim["worlds"]] != seeds or claim["of"] != len(seeds)
    ]
