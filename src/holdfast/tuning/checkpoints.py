"""Where tuning leaves its checkpoints. No other file knows the names of these folders.

<folder>/epoch-3/               weights or adapter after 3 epochs, and the tokenizer
<folder>/epoch-3/training.json  the training record
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


def draft(folder: Path, epoch: int) -> Path:
    """Where the files of a checkpoint are put together, before `publish` gives it its place."""
    return folder / f".{_folder_of(folder, epoch).name}"


def publish(folder: Path, epoch: int, record: Mapping[str, Any]) -> None:
    """Add the training record to a draft and give it its place, so that a checkpoint is whole or not there."""
    written, final = draft(folder, epoch), _folder_of(folder, epoch)
    (written / RECORD).write_text(json.dumps(record), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    written.replace(final)


def _folder_of(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch}"
