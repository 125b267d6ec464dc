"""The one JSON file that a run, an audit or a reproduction ends with: read in one strict way, and written for good.

Such a file may come from somebody else, and its figures and texts go onto pages, terminals and model cards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from holdfast.core.containment import open_own, refuse_links
from holdfast.core.errors import DamagedError, RunFolderError
from holdfast.core.file_faults import half_character, shown
from holdfast.core.files import write_atomically
from holdfast.core.jsonl import reader

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record")

MOST_PROBLEMS = 5
"""Problems that a message lists."""

LONGEST_PROBLEM = 200
"""Characters of a problem that a message shows: the names in it may be somebody else's."""


@dataclass(frozen=True)
class RecordFile:
    """A kind of file with one record, and how it is made."""

    name: str
    schema: int
    """Raised when a field changes its meaning or goes away."""
    what: str
    """What ends with it, in a word: `run`."""
    command: str
    """What makes it: `holdfast run`."""
    given: str
    """What the command is given: `STUDY`."""
    same: str
    """What must be the same for the command to make the file again: `study`."""

    def read(self, folder: Path, kind: type[Record], gaps: Callable[[Record], list[str]] = lambda record: []) -> Record:
        """The record in a folder. What holds, and what is raised, is as in `parse`.

        Raises:
            RunFolderError: also where there is no such file, or where it or another part of the folder is a link.
        """
        refuse_links(folder)
        path = folder / self.name
        if not path.is_file():
            make = f"`{self.command} {self.given} --out {folder}`"
            raise RunFolderError(f"{path} does not exist. Finish the {self.what} first: {make}.")
        with open_own(path, "rb") as file:
            return self.parse(file.read(), kind, gaps, str(path))

    def parse(
        self,
        content: bytes,
        kind: type[Record],
        gaps: Callable[[Record], list[str]] = lambda record: [],
        name: str = "",
    ) -> Record:  # fmt: skip
        """A record from what a file holds.

        Types are strict: a figure of `true` or "5" is none. No number is NaN or infinite, and no text holds half of a
        character.

        Args:
            content: of the file.
            kind: the record's type.
            gaps: names what one part of a record uses and another lacks.
            name: the file's in messages; this kind's if it is not given.

        Raises:
            RunFolderError: it is of another schema.
            DamagedError: it holds something else.
        """
        from pydantic import ValidationError

        name = name or self.name
        try:
            tree = json.loads(content.decode(), parse_int=_finite, parse_float=_finite, parse_constant=_finite)
            problem = half_character(json.dumps(tree, ensure_ascii=False))
        except _InfiniteError as error:
            raise self._damaged(name, [str(error)]) from None
        except (ValueError, RecursionError) as error:
            raise self._damaged(name, [f"it is not JSON: {error}"]) from None
        if problem or not isinstance(tree, dict):
            problem = problem or f"{type(tree).__name__} in place of an object"
            raise self._damaged(name, [f"it holds {problem}"])
        if (found := tree.get("schema")) != self.schema:
            raise RunFolderError(
                f"{name} has the schema {shown(found)}, and this version of Holdfast reads {self.schema}. Make the "
                f"{self.what} again in a new folder (--out), or read it with the version that wrote it."
            )
        try:
            record: Record = reader(cast("Any", kind)).validate_json(content, strict=True)
            problems = gaps(record)
        except ValidationError as error:
            found = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_url=False)]
            problems = [": ".join(filter(None, each)) for each in found]
        if problems:
            raise self._damaged(name, problems)
        return record

    def _damaged(self, name: str, problems: list[str]) -> DamagedError:
        listed = "".join(f"\n  {problem[:LONGEST_PROBLEM]}" for problem in problems[:MOST_PROBLEMS])
        mend = f"`{self.command}` with the same {self.same} and folder writes it again."
        return DamagedError(f"{name} cannot be read:{listed}\n{mend}")

    def write(self, folder: Path, record: DataclassInstance) -> Path:
        """Write a record into a folder, and return the file's path."""
        write_atomically(folder / self.name, text_of(record))
        return folder / self.name


def text_of(record: DataclassInstance) -> str:
    """A record as such a file holds it.

    Raises:
        ValueError: a number is NaN or infinite, and the file could not be read again.
    """
    return json.dumps(asdict(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


class _InfiniteError(Exception):
    """A file holds NaN, or a number that is infinite or too large."""


def _finite(number: str) -> float:
    """A number of a JSON file."""
    if not isfinite(float(number)):
        raise _InfiniteError(f"it holds {number[:20]} in place of a finite number")
    return int(number) if number.lstrip("-").isdecimal() else float(number)
