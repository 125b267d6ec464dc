"""The content of files, each under its id: in a folder, or at any URL that fsspec knows.

A file is written to a spool first, and moved to its place when it is whole. The name that a user gave is never a path.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from holdfast.core import durable

CHUNK = 1 << 16
LEFT_SECONDS = 3600
"""Age of a file that nobody knows from which it is taken for left behind, not for one that is being written."""
ID = re.compile(r"file-[0-9a-f]{24}")


class FileStore:
    """Where the content of files lies.

    Args:
        place: a folder, or an URL such as `s3://bucket/folder`.
        spool: a folder on this machine for files that are on their way.
    """

    def __init__(self, place: str, spool: Path) -> None:
        import fsspec

        self.spool = spool
        durable.make_folder(spool)
        self._fs: Any
        self._fs, self._root = fsspec.core.url_to_fs(place)
        self._is_local = "file" in self._fs.protocol
        if self._is_local:
            durable.make_folder(Path(self._root))
        else:
            self._fs.makedirs(self._root, exist_ok=True)

    def _place(self, file_id: str) -> str:
        if not ID.fullmatch(file_id):
            raise ValueError("not the id of a file")
        return f"{self._root}/{file_id}"

    @contextmanager
    def spooled(self) -> Iterator[Path]:
        """A path for a file that is being written; what is left there at the end is removed."""
        with tempfile.NamedTemporaryFile(dir=self.spool, prefix="upload-", delete=False) as file:
            path = Path(file.name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, written: Path, file_id: str) -> None:
        """Move a whole file to its place, for good."""
        durable.sync(written)
        if not self._is_local:
            self._fs.put_file(str(written), self._place(file_id))
            return
        final = Path(self._place(file_id))
        try:
            durable.rename(written, final)
        except OSError:  # another disk than the spool's
            draft = final.with_name(f".{final.name}")
            shutil.copyfile(written, draft)
            durable.sync(draft)
            durable.rename(draft, final)

    def chunks(self, file_id: str) -> Iterator[bytes]:
        """A file's content.

        Raises:
            FileNotFoundError: it is not there.
        """
        with self._fs.open(self._place(file_id), "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    @contextmanager
    def local(self, file_id: str) -> Iterator[Path]:
        """A path on this machine with a file's content; a copy, where the file lies elsewhere.

        Raises:
            FileNotFoundError: it is not there.
        """
        if self._is_local:
            path = Path(self._place(file_id))
            if not path.is_file():
                raise FileNotFoundError(path.name)
            yield path
            return
        with self.spooled() as path:
            self._fs.get_file(self._place(file_id), str(path))
            yield path

    def delete(self, file_id: str) -> None:
        """Remove a file; it may be gone already."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._place(file_id))

    def sweep(self, known: Callable[[], Collection[str]]) -> int:
        """Remove what killed processes left: spools, and content whose file nobody knows; returns how many there were.

        Args:
            known: the ids of all files. It is asked after the content was listed, so that no new file is taken for one.
        """
        before = time.time() - LEFT_SECONDS
        removed = 0
        for path in self.spool.glob("upload-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        if self._is_local:
            old = [path.name for path in Path(self._root).iterdir()
                   if ID.fullmatch(path.name) and path.stat().st_mtime < before]  # fmt: skip
            for file_id in set(old) - set(known() if old else ()):
                self.delete(file_id)
                removed += 1
        return removed

    def works(self) -> bool:
        """Whether the place can be reached."""
        return bool(self._fs.isdir(self._root)) or not self._is_local
