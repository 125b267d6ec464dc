"""How a folder of weights is known to be whole: a seal in it lists its files with their sizes and checksums.

A killed process leaves no half of a folder, because folders are put together as drafts and renamed. But a loss of
power, a full disk or a copy that broke off can leave files that are cut or hold something else.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from holdfast.core import durable

SEAL = ".whole"
"""The name of the seal; no model's file has it."""
BLOCK = 1 << 22
"""Bytes that are read at once."""


def seal(folder: Path) -> None:
    """Have a folder's files reach the disk, and list them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    listed = {str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)] for path in files}
    (folder / SEAL).write_text(json.dumps(listed), encoding="utf-8")
    for path in (*files, folder / SEAL, *{path.parent for path in files}):
        durable.sync(path)


def damage(folder: Path, by_checksum: bool = False) -> str:
    """What is wrong with a folder: a file is missing or has another size, or another checksum; "" if it is whole."""
    try:
        listed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        for name, (size, checksum) in listed.items():
            path = folder / name
            if not path.is_file():
                return f"{path} is missing"
            if path.stat().st_size != size:
                return f"{path} has {path.stat().st_size:,} bytes instead of {size:,}"
            if by_checksum and _checksum(path) != checksum:
                return f"{path} holds something else than was written"
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{folder / SEAL} is missing or cannot be read"
    return ""


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
