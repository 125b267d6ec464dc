"""The pocket world in pictures: its files with a vision tower, and `pocket:sighted`, the aligned model with eyes."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from holdfast.core.errors import RunFolderError
from holdfast.core.files import PICTURES, SHIPPED, write_atomically
from holdfast.core.progress import OnStep
from holdfast.core.worlds import CARD
from holdfast.models.joined import join
from holdfast.models.made import made
from holdfast.worlds.pocket import sights, tower
from holdfast.worlds.pocket.pictures import SIDE

PROJECTOR_SEED = 0
"""Of the projector of `pocket:sighted`, which has learnt nothing."""


def make(name: str) -> Path:
    """The folder of `pocket:sighted` in the user's cache; made if it is not there.

    It is `pocket:aligned`, whose weights are not changed, the shipped vision tower, and a new projector between them.
    """
    return made(name, lambda drafts: _join(drafts / "model"))


def _join(folder: Path) -> Path:
    join(SHIPPED / "aligned", PICTURES / "tower", folder, PROJECTOR_SEED)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["pocket_world"] = 0  # marks the model as a stand-in, as its language model is
    write_atomically(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
    return folder


def build(folder: Path, seed: int, on_step: OnStep) -> None:
    """Write the rows, the pictures, the vision tower and a card into a folder.

    Raises:
        RunFolderError: the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RunFolderError(f"{folder} is not empty. Name a new folder, or remove what is in it.")
    for name, content in sights.files(seed).items():
        write_atomically(folder / name, content)
    tower.save(tower.train(seed, on_step), folder / "tower")
    write_atomically(folder / CARD, card(seed))


def card(seed: int) -> str:
    """What the files are, and how they were made."""
    text = resources.files("holdfast.worlds.pocket").joinpath("PICTURES.md").read_text(encoding="utf-8")
    given: dict[str, Any] = {
        "seed": seed, "side": SIDE, "steps": f"{tower.STEPS:,}", "batch": tower.BATCH, "rate": tower.LEARNING_RATE,
    }  # fmt: skip
    for part, shown in sights.every_picture(seed=seed).items():
        given |= {part: f"{len(sights.rows(shown)):,}", f"n_{part}": len(shown)}
    for name, value in given.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text
