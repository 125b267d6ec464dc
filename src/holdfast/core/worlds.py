"""The pocket worlds: whether one is built, and which one a model or a file belongs to.

World 0 is shipped. The others lie in the cache once they are built, and are named by their seed: `pocket:aligned@3`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from holdfast.core.files import OF_A_WORLD, is_file, is_folder, locate, world_folder

CARD = "README.md"
"""The file that a build writes last: a folder that has it holds a whole world."""


def is_built(seed: int) -> bool:
    """Whether a world is shipped, or built to its end."""
    return is_file(world_folder(seed) / CARD)


def not_built(name: str) -> str:
    """What to say of a name whose world is not built; "" for any other name."""
    found = OF_A_WORLD.fullmatch(name)
    if found is None or is_built(int(found[2])):
        return ""
    return (
        f"{name}: the pocket world of seed {int(found[2])} is not built yet. Build it, which takes some minutes: "
        f"`holdfast pocket build --seed {int(found[2])}`"
    )


def home_of(model: Path) -> Path | None:
    """The folder of the world that a model's folder belongs to; None for a model of no world.

    It is the folder that the model lies in, or else where the world of its seed is kept.
    """
    seed = seed_of(model)
    if seed is None:
        return None
    if seed_of(model.parent / "benchmark.jsonl") == seed:
        return model.parent
    return world_folder(seed) if is_built(seed) else None


def seed_of(path: Path) -> int | None:
    """The seed of the world that a model's folder, or a file of a world, belongs to; None if it belongs to none."""
    if not is_folder(path) and not is_file(path):
        return None
    config = path / "config.json" if is_folder(path) else path.parent / "aligned" / "config.json"
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
        seed = {**settings, **settings.get("text_config", {})}["pocket_world"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return seed if isinstance(seed, int) else None


def others(settings: Any, seed: int, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str, int]]:
    """The files and models among settings that belong to another world than that of a seed.

    Returns:
        Where each stands, its name, and the seed of its world.
    """
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(settings, dict):
        inner = settings.items()
    elif isinstance(settings, list):
        inner = enumerate(settings)
    elif isinstance(settings, str) and (settings.startswith("pocket:") or Path(settings).is_absolute()):
        found = seed_of(locate(settings))
        if found is not None and found != seed:
            yield at, settings, found
    for name, value in inner:
        yield from others(value, seed, (*at, name))
