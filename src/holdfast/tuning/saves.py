"""What a tuning that was killed is resumed from. A save is whole or not there; a damaged one is passed over.

<folder>/checkpoint-30/         what the Trainer saved after 30 steps, and its seal
<folder>/draft/checkpoint-30/   what it is saving
"""

from __future__ import annotations

import shutil
from pathlib import Path

from holdfast.core import durable
from holdfast.tuning import seals


def draft(folder: Path) -> Path:
    """Where the Trainer puts its checkpoints together."""
    return folder / "draft"


def draft_of(folder: Path, step: int) -> Path:
    """Where it puts together the checkpoint after a number of steps."""
    return draft(folder) / f"checkpoint-{step}"


def publish(folder: Path, step: int) -> None:
    """Give the draft after a number of steps its place, and delete the earlier checkpoints."""
    earlier, final = _saved(folder), folder / f"checkpoint-{step}"
    seals.seal(draft_of(folder, step))
    shutil.rmtree(final, ignore_errors=True)
    durable.rename(draft_of(folder, step), final)
    for each in earlier:
        if each != final:
            shutil.rmtree(each, ignore_errors=True)


def last_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The last checkpoint that is whole, if there is one, and what is wrong with later ones that are passed over."""
    damages: list[str] = []
    for path in reversed(_saved(folder)):
        if not (damage := seals.damage(path, by_checksum=True)):
            return path, damages
        damages.append(damage)
    return None, damages


def _saved(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the last one at the end."""
    saved = [path for path in folder.glob("checkpoint-*") if path.name.partition("-")[2].isdecimal()]
    return sorted(saved, key=lambda path: int(path.name.partition("-")[2]))
