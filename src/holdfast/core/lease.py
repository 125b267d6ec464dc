"""Who writes a run folder, told in the folder itself, so that runs on several machines keep out of each other's way.

The holder writes a beat every few seconds. Whoever finds a holder watches the beat, and takes the folder only where it
stands still: clocks are not compared, as those of two machines can differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

from holdfast.core import stopping
from holdfast.core.errors import RunFolderError

BEAT = 5.0
"""Seconds between two beats."""

STILL = 30.0
"""Seconds without a beat after which a holder on another machine counts as dead."""

LOOK = 0.5
"""Seconds between two looks at a beat."""

SETTLE = 1.0
"""Seconds after which a holder that has replaced a dead one looks whether another did so at the same time."""

HOLDER = ".holder.json"
"""The file's name."""


class Slip(Protocol):
    """A small file that several machines see."""

    def read(self) -> bytes | None:
        """Its content; None if it is not there."""

    def create(self, content: bytes) -> bool:
        """Make it, unless it is there; whether it was made."""

    def write(self, content: bytes) -> None:
        """Replace it."""

    def delete(self) -> None:
        """Remove it; it may be gone already."""


class DiskSlip:
    """A slip on a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """Its content; None if it is not there."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def create(self, content: bytes) -> bool:
        """Make it, unless it is there; whether it was made."""
        try:
            with self.path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def write(self, content: bytes) -> None:
        """Replace it."""
        draft = self.path.with_name(f"{self.path.name}.{token_hex(4)}")
        draft.write_bytes(content)
        draft.replace(self.path)

    def delete(self) -> None:
        """Remove it; it may be gone already."""
        self.path.unlink(missing_ok=True)


class Lease:
    """What one run holds of a folder."""

    def __init__(self, slip: Slip, place: str, note: Callable[[str], object]) -> None:
        self.slip, self.place, self.note = slip, place, note
        here = {"machine": socket.gethostname(), "boot": _boot()}
        self.mine = {"owner": token_hex(8), **here, "process": os.getpid()}
        self.beats = 0
        self.lost = False
        """Whether another run has taken the folder: nothing more may be written."""
        self._over = threading.Event()

    @contextmanager
    def held(self) -> Iterator[Lease]:
        """Hold the folder for the block.

        Raises:
            RunFolderError: a run on another machine is at work in it.
        """
        self._take()
        beats = threading.Thread(target=self._beat, daemon=True)
        beats.start()
        try:
            yield self
        finally:
            self._over.set()
            beats.join()
            with contextlib.suppress(OSError, RunFolderError):
                if self._is_mine():
                    self.slip.delete()

    def _take(self) -> None:
        while not self.slip.create(self._content()):
            found = self.slip.read()
            if found is not None and (self._is_dead_here(found) or self._stands_still(found)):
                self._replace(found)
                return

    def _replace(self, found: bytes) -> None:
        """Take the place of a dead holder, unless another run does so at the same time."""
        self.slip.write(self._content())
        if not self._is_of_here(found):
            time.sleep(SETTLE)
        if not self._is_mine():
            raise in_use(self.place, self.slip.read() or b"")

    def _stands_still(self, found: bytes) -> bool:
        """Whether a holder's beat stands still, which takes a while to tell; False if it has let go meanwhile."""
        who = _told(found)
        self.note(
            f"{self.place}: a run on {who.get('machine', 'some machine')} may be at work in it. It is watched for "
            f"{STILL:.0f} seconds."
        )
        until = time.monotonic() + STILL
        while time.monotonic() < until:
            time.sleep(LOOK)
            now = self.slip.read()
            if now is None:
                return False
            if now != found:
                raise in_use(self.place, now)
        return True

    def _is_dead_here(self, content: bytes) -> bool:
        """Whether the holder was a process of this machine that is gone."""
        who = _told(content)
        if not self._is_of_here(content) or not isinstance(who.get("process"), int):
            return False
        return who["process"] == os.getpid() or not _is_alive(who["process"])

    def _is_of_here(self, content: bytes) -> bool:
        return all(_told(content).get(name) == self.mine[name] for name in ("machine", "boot"))

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError, RunFolderError):  # of a disk or store that is away for a while
                if not self._is_mine():
                    self.lost = True
                    self.note(f"{self.place}: a run on another machine has taken it over, so this one stops.")
                    stopping.leave_to_check(signal.SIGTERM)
                    return
                self.beats += 1
                self.slip.write(self._content())

    def _is_mine(self) -> bool:
        return _told(self.slip.read() or b"").get("owner") == self.mine["owner"]

    def _content(self) -> bytes:
        return json.dumps({**self.mine, "beat": self.beats}).encode()


def in_use(place: str, holder: bytes) -> RunFolderError:
    """The error that another run holds a place; `holder` is what it says of itself."""
    who = _told(holder)
    whose = f": process {who['process']} on {who['machine']}" if {"process", "machine"} <= who.keys() else ""
    return RunFolderError(f"another run is at work in {place}{whose}. Wait for it, or name another folder with --out.")


def _told(content: bytes) -> dict[str, Any]:
    """What a holder says of itself; nothing if it cannot be read."""
    try:
        told = json.loads(content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _boot() -> str:
    """What tells this machine from another one of its name; "" where there is no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
