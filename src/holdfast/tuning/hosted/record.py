"""What is known of a job, written down before and after each step, so that nothing is paid for twice."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from holdfast.core.errors import TuningError
from holdfast.core.files import write_atomically
from holdfast.models.endpoint.orders import ID

FILE = "hosted.json"
EARLIER = "hosted-{n}.json"
"""Jobs of the same folder that came before."""


@dataclass(frozen=True)
class Record:
    """What is known of one job. Neither a row nor a key is part of it."""

    mark: str
    """Tells what this folder has uploaded and ordered from what others have."""
    provider: str
    base_url: str
    base: str
    epochs: int
    rows: int
    ticket: str = ""
    """What was set aside for it in the run's budget."""
    file: str | None = None
    """The id of the uploaded rows."""
    job: str | None = None
    """Its id."""
    state: str = ""
    """How it ended; "" while it goes on."""
    status: str = ""
    """How the provider called that."""
    message: str = ""
    """Why it did not succeed, in the provider's words."""
    model: str | None = None
    """The provider's name for the tuned model."""
    checkpoints: tuple[str, ...] = ()
    """Its names for the checkpoints."""
    discarded: bool = False
    """Whether nothing of it is with the provider any more."""
    kept: bool = False
    """Whether file and models are to stay."""
    deleted: Mapping[str, str] = field(default_factory=dict)
    """What was deleted → when the provider confirmed it."""
    not_deleted: Mapping[str, str] = field(default_factory=dict)
    """What could not be deleted → why."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended, so that the next call knows it."""
        return bool(self.state)

    def remaining(self) -> list[str]:
        """What the provider still has: the file, then the models. The same name is not listed twice."""
        models = [name for name in (self.model, *self.checkpoints) if name]
        every = [*([self.file] if self.file else []), *dict.fromkeys(models)]
        return [name for name in every if name not in self.deleted]

    def write(self, folder: Path) -> Record:
        """Write it down."""
        write_atomically(folder / FILE, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        return self

    def changed(self, folder: Path, **changes: Any) -> Record:
        """The record with changes, written down."""
        return replace(self, **changes).write(folder)


def new(provider: str, base_url: str, base: str, epochs: int, rows: int) -> Record:
    """The record of a job that nothing was done for yet."""
    return Record(token_hex(8), provider, base_url, base, epochs, rows)


def read(folder: Path) -> Record | None:
    """What a folder's record says; None if it has none.

    Raises:
        TuningError: it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = Record(**{**content, "checkpoints": tuple(content["checkpoints"])})
        ids = [found.mark, *(each for each in (found.file, found.job) if each is not None)]
        if not all(isinstance(each, str) and ID.fullmatch(each) for each in ids):
            raise ValueError("an id is none")
        if not isinstance(found.deleted, dict) or not isinstance(found.epochs, int):
            raise ValueError("a field is of another kind")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TuningError(
            f"{path} should say what is known of a job at a provider, but cannot be read ({str(error)[:200]}). Look "
            "at the provider's own list of jobs and files; delete what is yours there, then this file, and run again."
        ) from None
    return found


def set_aside(folder: Path) -> None:
    """Keep the record of an earlier job under another name."""
    n = 1
    while (folder / EARLIER.format(n=n)).exists():
        n += 1
    (folder / FILE).rename(folder / EARLIER.format(n=n))


def now() -> str:
    """The date and time in UTC, to the second: a stamp, by which no wait is measured."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
