"""Files of our own, a row of JSON a line: lines are only ever added, whole, and one that was cut off does no harm."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from holdfast.core import durable
from holdfast.core.containment import open_own
from holdfast.core.errors import DamagedError
from holdfast.core.files import naming, write_atomically

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Record = TypeVar("Record")

SYNC_EVERY = 1.0
"""Seconds of work that a loss of power can cost, beside the request under way: a sync for each line would be slow."""

MOST_NAMED = 10
"""Numbers of damaged lines that a message gives."""


def read_records(path: Path, kind: type[Record]) -> Iterator[Record]:
    """The lines of a file of ours as typed records; a last line that was cut off is passed over.

    Types are strict: a score of `true` or "5" is none.

    Raises:
        DamagedError: naming the first line that is damaged.
        RunFolderError: it is a link, or no plain file.
    """
    of_kind = reader(cast("Any", kind))
    for number, line in _whole_lines(path):
        try:
            yield of_kind.validate_json(line, strict=True)
        except ValueError as error:  # pydantic's ValidationError is one
            raise _damaged(path, number, _short(error)) from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of ours; a last line that was cut off is passed over.

    Raises:
        DamagedError: naming the first line that is damaged.
        RunFolderError: it is a link, or no plain file.
    """
    for number, line in _whole_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, number, _short(error)) from None
        if not isinstance(row, dict):
            raise _damaged(path, number, f"{type(row).__name__} in place of an object")
        yield row


def set_aside_damaged(path: Path, kind: type[Record], problem: Callable[[Record], str] = lambda record: "") -> str:
    """Move the damaged lines of a file to the end of `<name>.damaged` beside it; `problem` says what it finds wrong.

    Returns:
        Which lines they were, what was wrong with the first one, and where they are now; "" if none is damaged.

    Raises:
        RunFolderError: it is a link, or no plain file.
        OSError: the file cannot be written; then all lines are where they were.
    """
    of_kind, whole, damaged, why = reader(cast("Any", kind)), [], {}, ""
    for number, line in _whole_lines(path):
        try:
            wrong = problem(of_kind.validate_json(line, strict=True))
        except ValueError as error:
            wrong = _short(error)
        if wrong:
            why, damaged[number] = why or wrong, line
        else:
            whole.append(line)
    if not damaged:
        return ""
    aside = path.with_name(f"{path.name}.damaged")
    with naming(aside), open_own(aside, "ab", 0) as file:
        _add(file, b"".join(damaged.values()))
    write_atomically(path, b"".join(whole))
    lines = ", ".join(map(str, islice(damaged, MOST_NAMED))) + (" …" if len(damaged) > MOST_NAMED else "")
    which = f"line {lines} was" if len(damaged) == 1 else f"lines {lines} were"
    return f"{path}, {which} damaged: {why}. They are kept in {aside.name}."


@cache
def reader(kind: Any) -> TypeAdapter[Any]:
    """What reads and checks records of a kind."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _short(error: Exception) -> str:
    return "; ".join(str(error).split("\n")[:3])[:300]


def _damaged(path: Path, number: int, why: str) -> DamagedError:
    return DamagedError(
        f"{path}, line {number} is damaged: {why}. `holdfast run` with the same study and folder mends it: it sets "
        "the line aside, and makes what is missing again."
    )


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        return
    with open_own(path, "rb") as file:
        content = file.read()
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        yield number, line + b"\n"


class Appender:
    """Appends lines to a file. They reach the disk within `SYNC_EVERY` seconds of work, and when the block ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._synced_at = time.monotonic()
        self._is_behind = False
        """Whether lines were added that may not be on the disk yet."""

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows as `append_lines` does."""
        due = time.monotonic() - self._synced_at >= SYNC_EVERY
        self._is_behind = True
        append_lines(self.path, rows, for_good=due)
        if due:
            self._synced_at, self._is_behind = time.monotonic(), False

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._is_behind and self.path.exists():
            with naming(self.path), contextlib.suppress(*([OSError] if error else [])):
                durable.sync(self.path)


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]], for_good: bool = True) -> None:
    """Append whole lines, or none; a line that was cut off is removed before.

    With `for_good`, they are on the disk when this returns.

    Where several processes write one file, each call needs a lock that they share.

    Raises:
        RunFolderError: it is a link, or no plain file.
        OSError: they cannot be written; `why_file_failed` says it in words.
    """
    append_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(), for_good)


def append_whole(path: Path, lines: bytes, for_good: bool = True) -> None:
    """As `append_lines`, of lines that are written already."""
    with naming(path):
        durable.make_folder(path.parent)
        is_new = not path.exists()
        with open_own(path, "a+b", 0) as file:
            _drop_cut_line(file)
            _add(file, lines, for_good)
        if is_new:
            durable.sync(path.parent)


def _add(file: BinaryIO, lines: bytes, for_good: bool = True) -> None:
    """Write at the end of a file without a buffer; on an error the end is as before."""
    size, rest = file.seek(0, os.SEEK_END), memoryview(lines)
    try:
        while rest:
            rest = rest[file.write(rest) :]
        if for_good:
            durable.flush(file)
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise


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

    def rows(self) -> Iterator[dict[str, Any] | None]:
        """What is new; a line that is not whole is waited for, and one that is no object is None."""
        if not self.path.exists():
            return
        with open_own(self.path, "rb") as file:
            file.seek(self.read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.read_to += len(line)
                row = None
                with contextlib.suppress(ValueError, RecursionError):
                    row = json.loads(line)
                yield row if isinstance(row, dict) else None
