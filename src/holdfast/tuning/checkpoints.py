"""Where tuning leaves its checkpoints. No other file knows the names of these folders.

<folder>/epoch-3/               weights or adapter after 3 epochs, and the tokenizer
<folder>/epoch-3/training.json  the training record
<folder>/base/                  the base as a defence changed it before tuning; only there if one did
<folder>/unfinished/epoch-3/    what is still to be changed by the defences that act after tuning
<folder>/trainer/               what a tuning that was killed is resumed from
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.core.types import Checkpoint, Tuned

RECORD = "training.json"


def read(base: Checkpoint, folder: Path, epochs: Iterable[int]) -> dict[int, Tuned]:
    """The checkpoints of these epochs that are in the folder, by epoch; they are tuned from `base`."""
    tuned = {}
    for epoch in sorted(set(epochs)):
        weights = _folder_of(folder, epoch)
        if weights.is_dir():
            record = json.loads((weights / RECORD).read_text(encoding="utf-8"))
            tuned[epoch] = Tuned(replace(base, folder=weights), record)
    return tuned


def base_in(folder: Path, base: Checkpoint) -> Checkpoint:
    """What the folder's checkpoints are tuned from: the base, or what a defence made of it."""
    return replace(base, base=str(_base_of(folder)), revision=None) if _base_of(folder).is_dir() else base


def draft_base(folder: Path) -> Path:
    """Where the files of a changed base are put together, before `publish_base` gives it its place."""
    return folder / f".{_base_of(folder).name}"


def publish_base(folder: Path) -> None:
    """Give the draft of a changed base its place, so that it is whole or not there."""
    draft_base(folder).replace(_base_of(folder))


def unfinished(folder: Path) -> Path:
    """Where tuned checkpoints wait for the defences that act after tuning."""
    return folder / "unfinished"


def trainer_in(folder: Path) -> Path:
    """Where the Trainer saves what a tuning that was killed is resumed from."""
    return folder / "trainer"


def draft(folder: Path, epoch: int) -> Path:
    """Where the files of a checkpoint are put together, before `publish` gives it its place."""
    return folder / f".{_folder_of(folder, epoch).name}"


def publish(folder: Path, epoch: int, record: Mapping[str, Any]) -> None:
    """Add the training record to a draft and give it its place, so that a checkpoint is whole or not there."""
    written, final = draft(folder, epoch), _folder_of(folder, epoch)
    (written / RECORD).write_text(json.dumps(record), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    written.replace(final)


def _base_of(folder: Path) -> Path:
    return folder / "base"


def _folder_of(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch}"
