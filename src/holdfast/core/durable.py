"""Files that outlast a loss of power: what is written is on the disk before anything is built on it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO

CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""Error numbers of file systems and folders that keep no promise about the names in a folder."""


def flush(file: IO[bytes] | IO[str]) -> None:
    """Have what was written to an open file reach the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Have a file's content, or the names in a folder, reach the disk. Windows has no such thing for folders."""
    is_folder = path.is_dir()
    if os.name == "nt" and is_folder:
        return
    try:
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in CANNOT_SYNC:
            raise


def make_folder(folder: Path) -> None:
    """Make a folder and those that it lies in, for good; it may be there already."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def rename(written: Path, final: Path) -> None:
    """Give a file or folder another name on the same disk, for good; what it holds must be on the disk already."""
    written.replace(final)
    sync(final.parent)
