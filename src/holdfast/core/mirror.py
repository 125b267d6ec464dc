"""A run folder in an object store, or wherever fsspec reaches: a working copy on this machine, kept in step with it.

What the store has is fetched when a run begins. From then on each file that has changed is sent, as a whole: an object
is the old one or the new one. Another machine can go on with the run from what the store has.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from holdfast.core.containment import checked_name
from holdfast.core.errors import HoldfastError, RunFolderError
from holdfast.core.files import private_cache, write_atomically
from holdfast.core.lease import HOLDER, Lease
from holdfast.core.types import content_hash

Made = TypeVar("Made")

SEND_EVERY = 5.0
"""Seconds between two times that changed files are sent: what is lost with the machine."""

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)
"""Seconds before each further attempt at what a store refused, e.g. with 503: two minutes in all."""

KNOWN = ".store.json"
"""What the working copy knows of the store: file → how the store and the disk had it when both were in step."""

SEAL = ".whole"
"""A folder of weights that has this file is whole (`tuning/seals.py`), and does not change any more."""

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"}
"""Protocols by which a file is replaced at once. By others it gets a name of its own first."""

_open: dict[Path, Mirror] = {}
"""The working copies that this process keeps in step."""


def is_url(place: str | Path) -> bool:
    """Whether a place is one that fsspec reaches, and no path of this machine."""
    return "://" in str(place)


def of(folder: Path) -> Mirror | None:
    """What keeps a folder in step with a store, if anything does."""
    return _open.get(folder.absolute())


@contextmanager
def working_copy(place: str | Path, note: Callable[[str], object]) -> Iterator[Path]:
    """The folder to work in: the place itself, or a working copy of it, which is sent to the store while it changes.

    Raises:
        RunFolderError: another run is at work in it, or the store cannot be reached.
    """
    if not is_url(place):
        yield Path(place)
        return
    url = str(place)
    folder = private_cache("working-copies") / content_hash(url)
    folder.mkdir(exist_ok=True)
    mirror = Mirror(url, folder, note)
    try:
        lock = FileLock(folder / ".working-copy.lock").acquire(blocking=False)
    except Timeout:
        raise RunFolderError(f"another run of this machine is at work in {url}. Wait for it.") from None
    with lock, Lease(Slip(mirror), url, note).held() as mirror.lease:
        mirror.fetch()
        _open[folder.absolute()] = mirror
        try:
            with mirror.kept_in_step():
                yield folder
            note(f"The run folder is in {url}; {folder} is its working copy.")
        finally:
            del _open[folder.absolute()]


class Mirror:
    """A folder of this machine and one of a store."""

    def __init__(
        self, url: str, folder: Path, note: Callable[[str], object] = lambda text: None, is_checkpoints: bool = False
    ) -> None:
        """`is_checkpoints`: it is the folder of one training run's checkpoints, and no whole run folder."""
        import fsspec

        self.url, self.folder, self.note = url.rstrip("/"), folder, note
        # It is `patiently` that asks again: else each of its attempts were fifteen, and none of them told.
        once = {"config_kwargs": {"retries": {"max_attempts": 1}}} if self.url.startswith(("s3:", "s3a:")) else {}
        try:
            its_own = {"use_listings_cache": False, "skip_instance_cache": True, **once}  # others may have other keys
            self.fs, self.root = fsspec.core.url_to_fs(self.url, **its_own)
            self.fs.retries = 1
        except (ImportError, ValueError) as error:
            raise RunFolderError(f"{url}: {error}. For s3:// addresses: pip install s3fs.") from None
        self.above = ("checkpoints", "run") if is_checkpoints else ()
        """The folders of the run folder in which it lies."""
        self.lease: Lease | None = None
        self._sending = threading.Lock()
        self.known: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            self.known = json.loads((folder / KNOWN).read_text(encoding="utf-8"))

    def fetch(self) -> None:
        """Have the working copy hold what the store has; what an earlier run could not send stays, and is sent."""
        there = self._listed()
        for name in [each for each in self.known if each not in there]:
            (self.folder / name).unlink(missing_ok=True)
            del self.known[name]
        for name, state in there.items():
            path = self.folder / name
            if not path.is_file() or self.known.get(name, {}).get("store") != state:
                draft = path.with_name(f".{path.name}.{token_hex(4)}")
                path.parent.mkdir(parents=True, exist_ok=True)
                patiently(partial(self.fs.get_file, self._path(name), str(draft)), self.note)
                draft.replace(path)
                self.known[name] = {"store": state, "disk": _state(path)}
        self._remember()

    def send(self) -> None:
        """Send each file that has changed, and delete what is gone.

        Raises:
            RunFolderError: another run has taken the folder, or the store refuses for minutes.
        """
        with self._sending:
            self._send_all()

    def _send_all(self) -> None:
        if self.lease and self.lease.lost:
            raise RunFolderError(f"another run has taken {self.url} over; what this one did since is in {self.folder}.")
        changed = False
        for path in self._whole_files():
            name, state = path.relative_to(self.folder).as_posix(), _state(path)
            if state and self.known.get(name, {}).get("disk") != state:
                self._send(path, name)
                store = _of_store(patiently(partial(self.fs.info, self._path(name)), self.note))
                self.known[name], changed = {"store": store, "disk": state}, True
        gone = [name for name in self.known if not (self.folder / name).is_file()]
        for name in sorted(gone, key=lambda name: not name.endswith(SEAL)):
            with contextlib.suppress(FileNotFoundError):
                patiently(partial(self.fs.rm_file, self._path(name)), self.note)

            del self.known[name]
        if changed or gone:
            self._remember()

    def remove(self, name: str) -> None:
        """Delete a folder in the store that other machines wrote."""
        with contextlib.suppress(FileNotFoundError):
            patiently(lambda: self.fs.rm(self._path(name), recursive=True), self.note)

    @contextmanager
    def kept_in_step(self) -> Iterator[None]:
        """Send what changes, again and again while the block goes on, and at its end.

        Raises:
            RunFolderError: the rest could not be sent.
        """
        over = threading.Event()

        def send_often() -> None:
            while not over.wait(SEND_EVERY):
                with contextlib.suppress(RunFolderError, OSError):  # said at the end, if it stays so
                    self.send()

        thread = threading.Thread(target=send_often, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            over.set()
            thread.join()
            try:
                self.send()
            except RunFolderError as error:  # what stopped the run is to be told, too
                self.note(str(error))
            raise
        over.set()
        thread.join()
        self.send()

    def _whole_files(self) -> list[Path]:
        """The files that are to be in the store: weights only in whole folders, whose seal comes last."""
        files = []
        for path in self.folder.rglob("*"):
            parts = path.relative_to(self.folder).parts
            hidden = any(part.startswith(".") for part in parts[:-1]) or (parts[-1][0] == "." and parts[-1] != SEAL)
            if not hidden and path.is_file() and self._is_whole(path, parts):
                files.append(path)
        return sorted(files, key=lambda path: (len(path.relative_to(self.folder).parts) == 1, path.name == SEAL, path))

    def _is_whole(self, path: Path, parts: tuple[str, ...]) -> bool:
        within = (*self.above, *parts)
        if within[0] != "checkpoints" or len(within) <= 3:
            return True
        return any((folder / SEAL).is_file() for folder in list(path.parents)[: len(within) - 3])

    def _send(self, path: Path, name: str) -> None:
        target = self._path(name)
        protocols = self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        at_once = bool(OBJECT_STORES & set(protocols))
        place = target if at_once else f"{target.rpartition('/')[0]}/.{path.name}.{token_hex(4)}"

        def put() -> None:
            if not at_once:
                self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            if path.suffix in (".json", ".jsonl"):  # it may grow while it is sent
                self.fs.pipe_file(place, path.read_bytes())
            else:
                self.fs.put_file(str(path), place)
            if not at_once:
                self.fs.mv(place, target)

        patiently(put, self.note)

    def _listed(self) -> dict[str, Any]:
        """File → its state in the store."""

        def find() -> dict[str, Any]:
            try:
                return dict(self.fs.find(self.root, detail=True))
            except FileNotFoundError:
                return {}

        found = patiently(find, self.note)
        names = {path.removeprefix(self.root).lstrip("/"): _of_store(info) for path, info in found.items()}
        ours = {name: state for name, state in names.items() if not _is_draft(name)}
        for part in {part for name in ours for part in name.split("/")} - {SEAL}:
            checked_name(part)
        return ours

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _remember(self) -> None:
        write_atomically(self.folder / KNOWN, json.dumps(self.known))


class Slip:
    """The slip of a lease (`core/lease.py`) in a store."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror, self.path = mirror, f"{mirror.root}/{HOLDER}"

    def read(self) -> bytes | None:
        """Its content; None if it is not there."""
        try:
            return bytes(patiently(lambda: self.mirror.fs.cat_file(self.path), self.mirror.note))
        except FileNotFoundError:
            return None

    def create(self, content: bytes) -> bool:
        """Make it, unless it is there; whether it was made."""
        if self.read() is not None:
            return False
        patiently(partial(self.mirror.fs.makedirs, self.mirror.root, exist_ok=True), self.mirror.note)
        try:
            self.mirror.fs.pipe_file(self.path, content, mode="create")
        except FileExistsError:
            return False
        except (OSError, TypeError, NotImplementedError):  # a store that knows no condition, or another was first
            if self.read() is not None:
                return False
            self.write(content)
        return True

    def write(self, content: bytes) -> None:
        """Replace it."""
        patiently(partial(self.mirror.fs.pipe_file, self.path, content), self.mirror.note)

    def delete(self) -> None:
        """Remove it; it may be gone already."""
        with contextlib.suppress(FileNotFoundError):
            self.mirror.fs.rm_file(self.path)


def patiently(call: Callable[[], Made], note: Callable[[str], object]) -> Made:
    """What a call to a store gives; one that fails is made again, later and later.

    Raises:
        FileNotFoundError, FileExistsError: what was asked for is not there, or is there.
        RunFolderError: it fails for minutes, or the store refuses the keys.
    """
    for wait in (*WAITS, None):
        try:
            return call()
        except (FileNotFoundError, FileExistsError, TypeError, ValueError, AttributeError, LookupError):
            raise
        except PermissionError as error:
            why = f"the store refuses: {error}. Are the keys right, and may they write there?"
            raise RunFolderError(why) from error
        except Exception as error:  # each store has errors of its own
            if wait is None:
                raise RunFolderError(
                    f"the store failed for {sum(WAITS):.0f} seconds: {error}. What was done is kept on this machine; "
                    "the same command goes on from there."
                ) from error
            if wait >= WAITS[3]:
                note(f"The store fails ({str(error)[:200]}). It is asked again in {wait:.0f} seconds.")
            time.sleep(wait)
    raise HoldfastError("unreachable")


def _of_store(info: dict[str, Any]) -> Any:
    """What changes when an object changes."""
    found = [str(info.get(key)) for key in ("ETag", "etag", "md5", "mtime", "created", "LastModified") if info.get(key)]
    return [info.get("size"), *found[:1]]


def _state(path: Path) -> list[int]:
    """What changes when a file changes; nothing if it is gone."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return []
    return [state.st_size, state.st_mtime_ns]


def _is_draft(name: str) -> bool:
    """Whether an object is none of a run: a holder's slip, or what was being sent when a machine was lost."""
    parts = name.split("/")
    return any(part.startswith(".") and part != SEAL for part in parts)
