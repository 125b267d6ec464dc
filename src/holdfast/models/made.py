"""Models that are made on first use, in the user's cache."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from holdfast.core import durable
from holdfast.core.files import is_folder, locate, private_cache


def made(name: str, write: Callable[[Path], Path]) -> Path:
    """The folder of a model in the user's cache; where it is not there, `write` writes it in a folder for drafts."""
    folder = locate(name)
    if not is_folder(folder):
        cache = private_cache(folder.parent.name)
        with FileLock(cache / f".{name.partition(':')[2]}.lock"):
            if not is_folder(folder):  # another process may have made it meanwhile
                with tempfile.TemporaryDirectory(dir=cache) as drafts:
                    durable.rename(write(Path(drafts)), folder)
    return folder
