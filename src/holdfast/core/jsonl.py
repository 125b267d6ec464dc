"""Files of our own, a row of JSON a line: lines are only ever added, whole, and one that was cut off does no harm."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from holdfast.core.containment import open_own
from holdfast.core.files import naming


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of ours; a last line that was cut off is passed over.

    Raises:
        RunFolderError: it is a link, or no plain file.
    """
    if not path.exists():
        return
    with open_own(path, "rb") as file:
        content = file.read()
    for line in content.splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


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
