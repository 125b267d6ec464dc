"""`worlds.json`: what several pocket worlds say of each of the paper's claims. docs/worlds.md explains each field."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from holdfast.core.claim_entries import Verdict
from holdfast.core.containment import open_own
from holdfast.core.errors import DamagedError, RunFolderError

WORLDS = "worlds.json"
SCHEMA = 1
"""Raised when a field of `worlds.json` changes its meaning or goes away."""


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


def read_worlds(path: Path) -> WorldsFile:
    """What `worlds.json` holds.

    Raises:
        DamagedError: it holds something else.
        RunFolderError: it is of another schema, a link, or no plain file.
    """
    again = "`holdfast reproduce` with the same `--worlds` and folder writes it anew."
    try:
        with open_own(path, "rb") as file:
            content = json.loads(file.read())
        read = TypeAdapter(WorldsFile).validate_json(json.dumps(content), strict=True)
    except (ValueError, RecursionError) as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else str(error)[:200]
        raise DamagedError(f"{path} cannot be read: it is damaged ({where}). {again}") from None
    if read["schema"] != SCHEMA:
        raise RunFolderError(
            f"{path} cannot be read: it has the schema {read['schema']}, and this version reads {SCHEMA}. Delete it: "
            f"{again}"
        )
    return read
