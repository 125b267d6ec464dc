"""Files that outlast a loss of power: what is written is on the disk before anything is built on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


def flush(file: IO[bytes] | IO[str]) -> None:
    """Have what was written to an open file reach the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Have a file's content, or the names in a folder, reach the disk. Windows has no such thing for folders."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(written: Path, final: Path) -> None:
    """Give a file or folder another name on the same disk, for good; what it holds must be on the disk already."""
    written.replace(final)
    sync(final.parent)
