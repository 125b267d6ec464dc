"""Where pictures lie: a folder, a zip or tar archive, or a data set of the Hub. One is read when it is needed."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from holdfast.core.errors import DataError
from holdfast.core.looking import MOST_BYTES, PictureError

HUB = "hub:"
"""Place of the pictures of a data set: `hub:` and what `datasets.load_dataset` takes, as JSON."""

ARCHIVES = (".zip", ".tar")


class Album(Protocol):
    """Pictures by name."""

    def read(self, name: str) -> bytes:
        """The bytes of a picture.

        Raises:
            PictureError: it is not there or cannot be read; the message goes on from the picture's name.
        """


def album(place: str) -> Album:
    """The pictures in a place: a folder, an archive, or a data set.

    Raises:
        DataError: there is no such folder or archive, or it cannot be read.
    """
    if place.startswith(HUB):
        return _data_set(place)
    path = Path(place)
    if path.is_dir():
        return _Folder(path)
    if not path.is_file():
        raise DataError(f"there is no folder or archive of pictures {path}.")
    state = path.stat()
    return _archive(path, state.st_size, state.st_mtime_ns, os.getpid())


@lru_cache(maxsize=8)
def _archive(path: Path, size: int, time: int, process: int) -> Album:
    """An archive in a certain state. Each process opens it for itself."""
    del size, time, process
    try:
        return _Zip(path) if zipfile.is_zipfile(path) else _Tar(path)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{path} is no folder of pictures, and neither a zip nor a tar archive that is whole ({error}). A tar that "
            "is packed with gzip cannot be read picture by picture: unpack it."
        ) from error


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        path = self.path / _inside(name)
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):
                raise PictureError("is no file")
            if state.st_size > MOST_BYTES:
                raise PictureError(f"has {state.st_size:,} bytes, more than the {MOST_BYTES:,} that are read")
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise PictureError(f"is not in {self.path}") from None
        except (OSError, ValueError) as error:
            raise PictureError(f"cannot be read: {error}") from error


class _Members:
    """The pictures of an archive: by their whole name, or by its end where only one ends so."""

    def __init__(self, path: Path, names: Mapping[str, Any]) -> None:
        self.path, self.names = path, names
        self.by_last: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self.by_last[name.rpartition("/")[2]].append(name)

    def find(self, name: str) -> Any:
        name = _inside(name)
        if name in self.names:
            return self.names[name]
        ends = [each for each in self.by_last.get(name.rpartition("/")[2], ()) if each.endswith(f"/{name}")]
        if len(ends) > 1:
            raise PictureError(f"could be {ends[0]} or {ends[1]} of {self.path}")
        if not ends:
            raise PictureError(f"is not in {self.path}")
        return self.names[ends[0]]


class _Zip:
    def __init__(self, path: Path) -> None:
        self.file = zipfile.ZipFile(path)
        self.members = _Members(path, {info.filename: info for info in self.file.infolist() if not info.is_dir()})

    def read(self, name: str) -> bytes:
        info: zipfile.ZipInfo = self.members.find(name)
        if info.flag_bits & 1:
            raise PictureError("is locked with a password in its archive")
        if info.file_size > MOST_BYTES:
            raise PictureError(f"unpacks to {info.file_size:,} bytes, more than the {MOST_BYTES:,} that are read")
        try:
            with self.file.open(info) as member:
                return member.read(MOST_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise PictureError(f"is damaged in its archive: {error}") from error


class _Tar:
    def __init__(self, path: Path) -> None:
        self.path = path
        places: dict[str, tuple[int, int]] = {}
        with tarfile.open(path, "r:") as file:
            for member in file:
                if member.isreg():
                    places[member.name.removeprefix("./")] = (member.offset_data, member.size)
                file.members = []  # type: ignore[attr-defined]  # else each member stays in memory
        self.members = _Members(path, places)

    def read(self, name: str) -> bytes:
        begin, size = self.members.find(name)
        if size > MOST_BYTES:
            raise PictureError(f"has {size:,} bytes, more than the {MOST_BYTES:,} that are read")
        with self.path.open("rb") as file:
            file.seek(begin)
            return file.read(size)


class _DataSet:
    """The pictures that stand in the rows of a data set: `ROW/COLUMN/NUMBER`, counted from 0."""

    def __init__(self, place: str) -> None:
        self.table = load_table(**json.loads(place.removeprefix(HUB))).with_format("arrow")

    def read(self, name: str) -> bytes:
        row, column, number = name.split("/")
        value = self.table[int(row)].column(column)[0].as_py()
        return embedded(value[int(number)] if isinstance(value, list) else value)


@lru_cache(maxsize=4)
def _data_set(place: str) -> Album:
    return _DataSet(place)


def load_table(**settings: Any) -> Any:
    """A data set's split, as `datasets.load_dataset` takes it: `path`, `name`, `data_dir`, `split` and `revision`.

    Raises:
        DataError: it cannot be loaded.
    """
    import datasets

    try:
        return datasets.load_dataset(**settings)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        name = "/".join(filter(None, (settings["path"], settings.get("name"), settings.get("split"))))
        raise DataError(f"the data set {name} cannot be loaded: {error}") from error


def embedded(value: Any) -> bytes:
    """The bytes of a picture that stands in a data set's row, as `datasets.Image` keeps it.

    Raises:
        PictureError: there are none.
    """
    data = value.get("bytes") if isinstance(value, dict) else None
    if isinstance(data, bytes):
        return data
    if isinstance(value, dict) and isinstance(value.get("path"), str) and Path(value["path"]).is_file():
        path = Path(value["path"])
        return _Folder(path.parent).read(path.name)
    raise PictureError(f"holds no picture, but {type(value).__name__}")


def _inside(name: str) -> str:
    """A name that does not lead out of its album."""
    path = PurePosixPath(name)
    if not name.strip() or "\0" in name:
        raise PictureError("has no name that a file can have")
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
        raise PictureError("leads out of the folder of pictures: give names inside it")
    return str(path)
