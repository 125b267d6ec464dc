"""Files of our own, a row of JSON a line: lines are only ever added, whole, and one that was cut off does no harm."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from holdfast.core.containment import open_own
from holdfast.core.errors import RunFolderError
from holdfast.core.files import naming

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Record = TypeVar("Record")


def read_records(path: Path, kind: type[Record]) -> Iterator[Record]:
    """The lines of a file of ours as typed records; a last line that was cut off is passed over.

    Types are strict: a score of `true` or "5" is none.

    Raises:
        RunFolderError: naming the first line that is damaged; or it is a link, or no plain file.
    """
    of_kind = reader(cast("Any", kind))
    for number, line in _whole_lines(path):
        try:
            yield of_kind.validate_json(line, strict=True)
        except ValueError as error:  # pydantic's ValidationError is one
            raise _damaged(path, number, error) from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of ours; a last line that was cut off is passed over.

    Raises:
        RunFolderError: naming the first line that is damaged; or it is a link, or no plain file.
    """
    for number, line in _whole_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, number, error) from None
        if not isinstance(row, dict):
            raise _damaged(path, number, f"{type(row).__name__} in place of an object")
        yield row


@cache
def reader(kind: Any) -> TypeAdapter[Any]:
    """What reads and checks records of a kind."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _damaged(path: Path, number: int, why: object) -> RunFolderError:
    reason = "; ".join(str(why).split("\n")[:3])[:300]
    return RunFolderError(
        f"{path}, line {number} is damaged: {reason}. Delete this line, and run the study again: what is missing is "
        "made again."
    )


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        return
    with open_own(path, "rb") as file:
        content = file.read()
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            yield number, line


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append whole lines, after removing a line that was cut off.

    Where several processes write one file, each call needs a lock that they share.

    Raises:
        RunFolderError: it is a link, or no plain file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    with naming(path), open_own(path, "a+b") as file:
        _drop_cut_line(file)
        file.write(lines)


def _drop_cut_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


class Tail:
    """The rows that were added to a file since it was last looked at, by whatever process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_to = 0
        """Bytes read so far, whole lines all."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """What is new; a line that is not whole is waited for, and one that is no object is passed over."""
        if not self.path.exists():
            return
        with open_own(self.path, "rb") as file:
            file.seek(self.read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.read_to += len(line)
                with contextlib.suppress(ValueError, RecursionError):
                    row = json.loads(line)
                    if isinstance(row, dict):
                        yield row
