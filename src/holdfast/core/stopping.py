"""How work is stopped by Ctrl-C and SIGTERM: what was paid for is stored first, and nothing more is begun.

Python calls the handler of a signal wherever the main thread is: in the middle of an import, or in a function that a
library's compiled code has called. An exception that is raised there is lost, or ends the process, as that code likes.
So the command line's handler raises none. Work that has something to tidy up names its safe points: it runs inside
`safe_points()`, and calls `check()`, which raises what the signal asks for. Elsewhere the process ends at once.

While replies are on their way that cost something, stopping would lose them. So whoever waits for such replies does it
inside `hold()`: there a signal is put off, `requested()` tells that it came, and it acts at the end of the block. A
second signal acts at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], Any]


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the same as Ctrl-C, but for the exit code."""


class _Stop:
    """What this process knows of a stop that is put off."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.depth = 0
        """How many `hold` blocks the process is in, one inside the other."""
        self.number = int(signal.SIGINT)
        self.earlier: dict[int, Any] = {}
        """The handlers in whose place `_put_off` is."""
        self.in_worker = False
        self.safe = 0
        """How many `safe_points` blocks the process is in, one inside the other."""
        self.due = 0
        """The signal that `check` will raise; 0 for none."""
        self.announce: Callable[[int], object] = lambda number: None


_stop = _Stop()


def requested() -> bool:
    """Whether this process was told to stop, and puts it off."""
    return _stop.requested.is_set()


def is_held() -> bool:
    """Whether the process is in a `hold` block."""
    return _stop.depth > 0


def announce_by(announce: Callable[[int], object]) -> None:
    """Have a function called, with the signal's number, when a signal is put off."""
    _stop.announce = announce


@contextmanager
def safe_points() -> Iterator[None]:
    """Work that calls `check` often. A signal that came since the last call acts at the end of the block."""
    _stop.safe += 1
    try:
        yield
        check()
    finally:
        _stop.safe -= 1


def leave_to_check(number: int) -> bool:
    """Leave a signal to the next `check`; whether the process is at work that calls it."""
    if _stop.safe:
        _stop.due = number
    return bool(_stop.safe)


def is_due() -> bool:
    """Whether a signal waits for the next `check`."""
    return bool(_stop.due)


def check() -> None:
    """A place at which this process can be stopped: called by our own code, and by no library's.

    Raises:
        KeyboardInterrupt: a signal came, and the process is in no `hold` block; `Terminated` for SIGTERM.
    """
    if _stop.depth or threading.current_thread() is not threading.main_thread():
        return
    if _stop.in_worker and _stop.requested.is_set():
        raise KeyboardInterrupt
    if number := _stop.due:
        _stop.due = 0
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def hold() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the end of the block; a second one acts at once.

    Blocks may be nested. Outside of the main thread, where Python handles no signals, nothing is done.

    Raises:
        KeyboardInterrupt: at the beginning, if a signal came before; at the end of the block, if one came in it. More
            exactly, the handler from before is called then.
    """
    check()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stop.depth += 1
    if _stop.depth == 1 and not _stop.in_worker:
        _stop.earlier = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            signal.signal(number, _put_off)
    try:
        yield
    finally:
        _stop.depth -= 1
        if _stop.depth == 0:
            _give_back()


def _put_off(number: int, frame: FrameType | None) -> None:
    if _stop.requested.is_set():
        _act(number, frame)
        return
    _stop.number = number
    _stop.requested.set()
    _stop.announce(number)


def _give_back() -> None:
    """Restore the handlers, and let a signal that was put off act."""
    for number, handler in _stop.earlier.items():
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    if _stop.requested.is_set():
        if not _stop.in_worker:
            _stop.requested.clear()
        _act(_stop.number, None)
    _stop.earlier = {}


def _act(number: int, frame: FrameType | None) -> None:
    """Do what would have been done without `hold`."""
    handler = _stop.earlier.get(number)
    if callable(handler):
        handler(number, frame)
    elif _stop.in_worker:
        raise KeyboardInterrupt
    elif handler == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def become_worker() -> None:
    """Leave it to the run to stop this process: signals of the terminal reach the run too, which tells its workers."""
    _stop.in_worker = True
    for number in SIGNALS:
        signal.signal(number, _in_worker)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def become_task() -> None:
    """As `become_worker`, in a process of Ray's, whose signals Ray handles."""
    _stop.in_worker = True


def _in_worker(number: int, frame: FrameType | None) -> None:
    """Do nothing, where to ignore a signal would be inherited by the processes that a worker starts."""


def stop_worker() -> None:
    """Stop the main thread of this worker, from another thread: at the next `check`, or the end of a `hold` block."""
    _stop.requested.set()


@contextmanager
def blocked() -> Iterator[None]:
    """Keep signals waiting while a worker is started, which inherits that: it would end before it can ignore them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # when it starts its own process, it lets the signals through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
