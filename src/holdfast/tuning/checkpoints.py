"""Where tuning leaves its checkpoints. No other file knows the names of these folders.

<folder>/epoch-3/               weights or adapter after 3 epochs, and the tokenizer
<folder>/epoch-3/training.json  the training record
<folder>/base/                  the base as a defence changed it before tuning; only there if one did
<folder>/unfinished/epoch-3/    what is still to be changed by the defences that act after tuning
<folder>/first/                 the tuning whose weights are tuned again here
<folder>/eyes/                  what comes before a model that sees is tuned, until it is its base
<folder>/trainer/               what a tuning that was killed is resumed from
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.core import durable
from holdfast.core.types import Checkpoint, Tuned
from holdfast.tuning import seals

RECORD = "training.json"


def read(base: Checkpoint, folder: Path, epochs: Iterable[int]) -> dict[int, Tuned]:
    """The whole checkpoints of these epochs that are in the folder, by epoch; they are tuned from `base`."""
    tuned = {}
    for epoch in sorted(set(epochs)):
        weights = _folder_of(folder, epoch)
        if weights.is_dir() and not damage(folder, epoch):
            record = json.loads((weights / RECORD).read_text(encoding="utf-8"))
            tuned[epoch] = Tuned(replace(base, folder=weights), record)
    return tuned


def damage(folder: Path, epoch: int) -> str:
    """What is wrong with the checkpoint of an epoch; "" if it is whole or not there."""
    weights = _folder_of(folder, epoch)
    return seals.damage(weights) if weights.is_dir() else ""


def base_in(folder: Path, base: Checkpoint) -> Checkpoint:
    """What the folder's checkpoints are tuned from: the base, or what a defence made of it."""
    changed = _base_of(folder)
    is_whole = changed.is_dir() and not seals.damage(changed)
    return replace(base, base=str(changed), revision=None) if is_whole else base


def draft_base(folder: Path) -> Path:
    """Where the files of a changed base are put together, before `publish_base` gives it its place."""
    return folder / f".{_base_of(folder).name}"


def publish_base(folder: Path) -> None:
    """Give the draft of a changed base its place, so that it is whole or not there."""
    seals.seal(draft_base(folder))
    shutil.rmtree(_base_of(folder), ignore_errors=True)
    durable.rename(draft_base(folder), _base_of(folder))


def unfinished(folder: Path) -> Path:
    """Where tuned checkpoints wait for the defences that act after tuning."""
    return folder / "unfinished"


def first_in(folder: Path) -> Path:
    """Where the tuning that comes before this one leaves its checkpoints."""
    return folder / "first"


def eyes_in(folder: Path) -> Path:
    """Where a model that sees, and its projector, are made."""
    return folder / "eyes"


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
    seals.seal(written)
    shutil.rmtree(final, ignore_errors=True)
    durable.rename(written, final)


def _base_of(folder: Path) -> Path:
    return folder / "base"


def _folder_of(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch}"
