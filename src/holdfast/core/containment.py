"""Folders that somebody else may have made: no name leads out of them, and no link in them is followed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

from holdfast.core.errors import RunFolderError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""What a key or name in a file may be, if a path is made of it."""

ONLY_PLAIN_FILES = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags under which a symbolic link is not opened, and a pipe is not waited for. Windows has neither."""

OF_A_RUN = (
    "results.json", "audit.json", "decision.json", "report.html", "claims.json", "worlds.json", "worlds.md", "tables",
    "figures", "study.yaml", "previous", "study.resolved.yaml", "prompts.jsonl", "conditions", "checkpoints",
    "judges.jsonl", "spending.jsonl", ".lock", ".spending.jsonl.lock", ".holder.json",
)  # fmt: skip
"""What a run folder can hold; none of it may be a link to somewhere else."""


def checked_name(name: str) -> str:
    """A name that a file gives, before a path is made of it.

    Raises:
        RunFolderError: it could lead to another folder.
    """
    if not NAME.fullmatch(name):
        raise RunFolderError(
            f"{name[:300]!r} cannot be the name of a folder or file of a run: letters, digits, dots, hyphens and "
            "underscores can. Was this folder made by Holdfast? Get it again from whoever has it."
        )
    return name


def refuse_links(folder: Path, names: Iterable[str] = OF_A_RUN) -> None:
    """Refuse these entries of a folder if they are symbolic links, or hold any. The folder itself may be one.

    Raises:
        RunFolderError: naming the first link.
    """
    for name in names:
        entry = folder / name
        if entry.is_symlink():
            raise _link(entry)
        if entry.is_dir():
            for inner, folders, files in os.walk(entry):
                for path in (Path(inner) / each for each in (*folders, *files)):
                    if path.is_symlink():
                        raise _link(path)


def open_own(path: Path, mode: str, buffering: int = -1) -> BinaryIO:
    """Open a file of a run folder as bytes, if it is a plain file; `buffering` is that of `open`.

    Raises:
        RunFolderError: it is a link, or no plain file.
        OSError: it cannot be opened.
    """
    if path.is_symlink():
        raise _link(path)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise RunFolderError(f"{path} is no plain file, as everything in a run folder is. Move it, and run again.")
    return cast(
        "BinaryIO",
        open(path, mode, buffering, opener=lambda name, flags: os.open(name, flags | ONLY_PLAIN_FILES, 0o666)),
    )


def _link(path: Path) -> RunFolderError:
    return RunFolderError(
        f"{path} is a symbolic link, and a run folder holds no links: through them files in other places could be "
        "read or overwritten. Remove the link, or put what it points to in its place."
    )
