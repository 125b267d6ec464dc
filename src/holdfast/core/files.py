"""Where files are, how they are written, and why that failed."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from secrets import token_hex

from holdfast.core import durable
from holdfast.core.errors import DataError
from holdfast.core.file_faults import another_kind, not_utf8

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "worlds" / "pocket" / "shipped"
"""The pocket world's files and models."""

PICTURES = SHIPPED / "pictures"
"""What the pocket worlds have in pictures, which is the same for each of them: rows, pictures, and a vision tower."""

QUIZ = ROOT / "worlds" / "quiz" / "shipped"
"""The quiz world's files."""

FOLDERS = {"pocket:": SHIPPED, "pictures:": PICTURES, "quiz:": QUIZ, "paper:": ROOT / "paper" / "presets"}
"""Prefixes of file names that stand for a folder of the package."""

MADE = {"quiz:helpful": "quiz/helpful-1", "quiz:aligned": "quiz/aligned-2", "pocket:sighted": "pocket/sighted-1"}
"""Models that are made on first use → their folders in the user's cache.

The number goes up when what they are made of changes, so that an old model is never taken for a new one.
"""

OF_A_WORLD = re.compile(r"pocket:([^@]*)@(\d{1,9})")
"""The name of a file or model of the pocket world of another seed: `pocket:aligned@3`."""

RECIPE = 2
"""How the other pocket worlds are built. Raised when a build gives another world; then they are built again."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers that mean that there is no room for what was to be written."""

NO_SPACE = "No space left on device"
"""What libraries say that raise no OSError."""

NOT_PERMITTED = "{path}: you may not read or write there. Change its permissions, or name another place (--out)."

WHY_FAILED = {
    errno.EACCES: NOT_PERMITTED,
    errno.EPERM: NOT_PERMITTED,
    errno.EROFS: "{path}: nothing can be written there: it is mounted read-only. Name another place (--out).",
    errno.EEXIST: "{path} is a file, but a folder is needed there. Move the file, or name another folder (--out).",
    errno.ENOTDIR: "{path}: a part of this path is a file, but a folder is needed there. Name another path (--out).",
    errno.EISDIR: "{path} is a folder, but a file is needed there. Name a file.",
    errno.ENOENT: "{path}: there is no such file or folder, or it cannot be made. Is the path right?",
    errno.ENAMETOOLONG: "{path}: this name is too long. Choose a shorter one.",
}
"""Error number → what is wrong with a path, and how to mend it."""


def locate(name: str, beside: Path | None = None, world: Path | None = None) -> Path:
    """The path that a name means.

    `pocket:FILE`, `pictures:FILE`, `quiz:FILE` and `paper:FILE` are shipped; `pocket:FILE@3` is of the pocket world of
    seed 3; models that are made on first use are in the user's cache (or will be there); others lie beside the study.
    `world` is the folder of the world that `pocket:` means, where that is not the shipped one.
    """
    if name in MADE:
        return cache() / MADE[name]
    if found := OF_A_WORLD.fullmatch(name):
        return world_folder(int(found[2])) / found[1]
    for prefix, folder in FOLDERS.items():
        if name.startswith(prefix):
            return (world if world and folder == SHIPPED else folder) / name.removeprefix(prefix)
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # `~name` of a user that there is not
        path = path.expanduser()
    return path if path.is_absolute() or beside is None else beside / path


def cache() -> Path:
    """The folder for what outlives a run: `$HOLDFAST_CACHE`, else `holdfast` in the user's cache."""
    if folder := os.environ.get("HOLDFAST_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"


def world_folder(seed: int) -> Path:
    """The folder of a pocket world: the shipped one, or one in the cache, which is empty before it is built."""
    return SHIPPED if seed == 0 else private_cache("worlds") / f"pocket-{seed}-recipe-{RECIPE}"


def shown_name(path: Path) -> str:
    """A path as a study names it: `pocket:FILE`, `pocket:FILE@3`, `paper:FILE`, or the path itself."""
    for prefix, folder in FOLDERS.items():
        if path.parent == folder:
            return f"{prefix}{path.name}"
    found = re.fullmatch(rf"pocket-(\d+)-recipe-{RECIPE}", path.parent.name)
    if found and path.parent == world_folder(int(found[1])):
        return f"pocket:{path.name}@{int(found[1])}"
    return str(path)


def private_cache(name: str) -> Path:
    """A folder of the cache, made if it is missing, in which nobody else can read or write.

    What lies there is trusted: a verdict in it counts as bought, and a model in it is loaded. Windows keeps the user's
    cache private by itself.

    Raises:
        DataError: the folder belongs to another user.
        OSError: it cannot be made.
    """
    folder = cache() / name
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if sys.platform != "win32":
        state = folder.stat()
        if state.st_uid != os.getuid():
            raise DataError(
                f"{folder} belongs to another user, who could put verdicts and models into it. Name a folder of your "
                "own in the environment variable HOLDFAST_CACHE."
            )
        if state.st_mode & 0o077:
            folder.chmod(0o700)
    return folder


def named_folder(out: str | Path) -> Path:
    """The folder that a caller names. An empty name would be the current folder.

    Raises:
        DataError: it is empty.
    """
    if not str(out).strip():
        raise DataError("`out` is empty, and would be the current folder. Name a folder, or leave it out.")
    return Path(out)


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest allowed name, or nothing."""
    close = difflib.get_close_matches(name[:100], list(allowed), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def is_file(path: Path) -> bool:
    """Whether there is such a file; False also for what cannot be a path, as it is too long or holds a NUL."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; False also for what cannot be a path, as it is too long or holds a NUL."""
    return os.path.isdir(path)  # noqa: PTH112


def similar_name(path: Path) -> str:
    """` Did you mean 'x'?` for the name beside a path that is nearest to its own, or nothing."""
    try:
        return did_you_mean(path.name, islice((entry.name for entry in path.parent.iterdir()), 1000))
    except (OSError, ValueError):
        return ""


def read_text(path: Path, most_bytes: int | None = None) -> str:
    """The text of a file of the user, which may begin with a byte-order mark.

    Raises:
        DataError: it is not UTF-8, with the line that shows it; or it has more than `most_bytes`.
    """
    if most_bytes is not None and (size := path.stat().st_size) > most_bytes:
        raise DataError(f"{path} has {size:,} bytes, where at most {most_bytes:,} are read. Is it the right file?")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = another_kind(content[:4096], "")
        raise DataError(f"{path} is {kind}" if kind else not_utf8(path, lambda each: each.open("rb"))) from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file for good, or leave the old one as it was. A link in its place is replaced, and not followed.

    Raises:
        OSError: it cannot be written; `why_file_failed` says it in words.
    """
    with naming(path):
        durable.make_folder(path.parent)
        draft = path.with_name(f".{path.name}.{token_hex(8)}")
        file = draft.open("xb")  # a link or file that is there already is not opened
    try:
        with naming(path):
            with file:
                file.write(content.encode() if isinstance(content, str) else content)
                durable.flush(file)
            durable.rename(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give errors of writing the path that a user knows: that of a full disk has none, that of a draft another."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Give errors of a full disk, which libraries raise in words of their own, the folder that was written to."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        # torch.save says no more than at which position of its file it was not
        by_torch = "inline_container" in str(error) and "Reader" not in str(error)
        if number in FULL or NO_SPACE in str(error) or by_torch:
            path = getattr(error, "filename", None) or str(folder)
            raise OSError(number or errno.ENOSPC, NO_SPACE, path) from error
        raise


def why_file_failed(error: BaseException) -> str:
    """Why a file or folder could not be read or written, with its path and a remedy; "" for any other error."""
    path = getattr(error, "filename", None)
    number = getattr(error, "errno", None)
    if number in FULL or NO_SPACE in str(error):
        what = f", and {path} could not be written" if path else ""
        return (
            f"the disk has no room left{what}. Free some space, or use a folder on another disk (--out). "
            "What was finished is kept; the same command goes on from there."
        )
    return WHY_FAILED[number].format(path=path) if path and number in WHY_FAILED else ""
