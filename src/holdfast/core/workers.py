"""Map over independent pieces of work: worker processes of one torch thread each.

Each worker is a process at the other end of a pipe. It is sent one piece after another, and sends back its progress
and how each piece ended. When a worker is killed, its piece has failed, and a new worker goes on with the rest.
When the run is stopped, each worker stores the replies that are paid for, begins nothing more, and ends.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as Stream
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from holdfast.core import stopping, warm_start
from holdfast.core.errors import HoldfastError
from holdfast.core.files import why_file_failed
from holdfast.core.progress import Activity, Progress
from holdfast.core.protocols import Watcher

MESSAGES_EVERY = 0.25
"""Seconds between two messages of a worker about the progress of one task."""

LOOK_EVERY = 0.1
"""Seconds between two looks at whether the run is to stop."""

GRACE = 0.5
"""Seconds that a worker which is told to stop has to end by itself, beside the time in which it holds paid replies."""

STOP = b""
"""Sent to a worker in place of a piece when there is none left."""

Work = Callable[[Any, Progress], None]
"""Does one piece, and tells its progress."""


@dataclass(frozen=True)
class Failure:
    """A piece of work that failed while others went on."""

    index: int
    """Which piece, counted from 0."""
    reason: str
    """What went wrong, for a person to read."""
    trace: str = ""
    """The traceback; "" for an error that the user can mend, or where the process was killed."""


def quiet() -> None:
    """Keep the libraries' own progress bars and warnings off the terminal, whether they are imported yet or not."""
    os.environ.update(warm_start.QUIET)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if imported := sys.modules.get("transformers.utils.logging"):
        imported.set_verbosity_error()
        imported.disable_progress_bar()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """One worker a core; one in all where there is a GPU, which they would share."""
    has_gpu = any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/kfd"))
    return 1 if has_gpu else usable_cores()


def work_through(
    work: Work, pieces: Sequence[Any], workers: int, watcher: Watcher
) -> Stream[int | Failure, None, None]:
    """Run `work(piece, progress)` for each piece; yields its index when it is done, or its failure.

    Pieces are begun in their order. One worker is this process. For several, `work` must be importable by name, and
    each piece picklable. The watcher is called in this process.
    """
    quiet()
    with stopping.safe_points():
        if workers == 1:
            yield from _in_this_process(work, pieces, watcher)
        else:
            warm_start.warm()
            yield from _Pool(work, pieces, watcher).run(min(workers, len(pieces)))


def _in_this_process(work: Work, pieces: Sequence[Any], watcher: Watcher) -> Iterator[int | Failure]:
    """All pieces one after another, with one thread, as each of several workers would do them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for index, piece in enumerate(pieces):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # between libraries; nothing a user could mend
                failure = attempt(partial(work, piece, _Direct(watcher, index)))
            watcher.show(index, None)
            yield Failure(index, *failure) if failure else index
    finally:
        torch.set_num_threads(threads)


def attempt(piece_of_work: Callable[[], None]) -> tuple[str, str] | None:
    """Do a piece; None, or the reason and the traceback of its failure."""
    try:
        piece_of_work()
    except HoldfastError as error:
        return str(error), ""
    except Exception as error:  # one piece's failure must not lose the others' work
        if reason := why_file_failed(error):
            return reason, ""
        return f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
    return None


class _Direct:
    """The progress of a piece in this process. Whoever tells it is at a place where the work can be stopped."""

    def __init__(self, watcher: Watcher, index: int) -> None:
        self.watcher, self.index = watcher, index

    def advance(self, units: int) -> None:
        self.watcher.advance(units)
        stopping.check()

    def show(self, activity: Activity) -> None:
        self.watcher.show(self.index, activity)
        stopping.check()

    def note(self, text: str) -> None:
        self.watcher.note(text)


@dataclass(frozen=True)
class _Update:
    """A worker's message about its progress."""

    units: int
    activity: Activity | None


@dataclass(frozen=True)
class _Note:
    """A worker's message for the user."""

    text: str


@dataclass(frozen=True)
class _Ended:
    """A worker's message that its piece has ended."""

    failure: tuple[str, str] | None


class _Pool:
    """Worker processes, and the pieces that they have not begun."""

    def __init__(self, work: Work, pieces: Sequence[Any], watcher: Watcher) -> None:
        self.work, self.watcher = work, watcher
        self.waiting = deque(enumerate(pieces))
        self.context = warm_start.context()
        self.processes: dict[Connection, Any] = {}
        """Each worker's process, by its end of the pipe."""
        self.at_work: dict[Connection, int] = {}
        """The piece that each worker does."""
        self.begun: set[Connection] = set()
        """Workers that have told something; the others are still starting."""
        self.running, self.keep_running = self.context.Pipe(duplex=False)
        """Workers listen at the one end; closing the other one tells all of them to stop."""

    def run(self, workers: int) -> Iterator[int | Failure]:
        """Start so many workers, and yield how each piece ends."""
        try:
            for _ in range(workers):
                self._start_worker()
            while self.at_work:
                stopping.check()
                for connection in wait(list(self.at_work), LOOK_EVERY):
                    outcome = self._receive(cast("Connection", connection))
                    if outcome is not None:
                        yield outcome
        except BaseException:
            self._stop_workers()
            raise
        finally:
            self._end_workers()

    def _start_worker(self) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(theirs, self.running, self.work, dict(os.environ)))
        warm_start.begin(process)
        theirs.close()  # the worker alone holds it, so that its death closes it
        self.processes[ours] = process
        self._assign(ours)

    def _assign(self, connection: Connection) -> None:
        """Send a worker the next piece, or tell it to stop."""
        index, message = -1, STOP
        if self.waiting:
            index, piece = self.waiting.popleft()
            message = pickle.dumps(piece)
            self.at_work[connection] = index
        with suppress(OSError):  # of a worker that is dead, which the next `recv` tells
            connection.send_bytes(message)

    def _receive(self, connection: Connection) -> int | Failure | None:
        """Take one message of a worker; how its piece ended, or None while it goes on."""
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return self._lost(connection)
        index = self.at_work[connection]
        self.begun.add(connection)
        if isinstance(message, _Note):
            self.watcher.note(message.text)
            return None
        if isinstance(message, _Update):
            self.watcher.advance(message.units)
            if message.activity:
                self.watcher.show(index, message.activity)
            return None
        del self.at_work[connection]
        self.watcher.show(index, None)
        self._assign(connection)
        return Failure(index, *message.failure) if message.failure else index

    def _lost(self, connection: Connection) -> Failure:
        """The failure of the piece of a worker that is dead; another worker takes its place if there is work left."""
        process, index = self.processes.pop(connection), self.at_work.pop(connection)
        process.join()
        self.watcher.show(index, None)
        if self.waiting:
            self._start_worker()
        return Failure(index, _why_dead(process.exitcode))

    def _stop_workers(self) -> None:
        """Have the workers store what is under way and end, and wait for that; nothing more is begun."""
        self.waiting.clear()
        self.keep_running.close()
        for starting in self.at_work.keys() - self.begun:
            if not starting.poll():
                self.processes[starting].kill()  # it starts, so it has nothing to store
        while self.at_work:
            for connection in wait(list(self.at_work)):  # also so that no worker waits for its messages to be read
                self._receive(cast("Connection", connection))

    def _end_workers(self) -> None:
        """End all workers: those at work at once."""
        for connection, process in self.processes.items():
            if connection in self.at_work:
                process.kill()
            process.join()
            connection.close()
        self.running.close()
        self.keep_running.close()


def _why_dead(exit_code: int) -> str:
    if exit_code >= 0:
        return f"its worker process ended by itself, with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"its worker process was killed ({name}); often the machine ran out of memory (try --workers 1)"


def _serve(connection: Connection, running: Connection, work: Work, environment: dict[str, str]) -> None:
    """What a worker process runs: one piece after another."""
    stopping.become_worker()
    warm_start.settle(environment)
    warnings.filterwarnings("ignore", category=FutureWarning)  # between libraries; nothing a user could mend
    try:
        connection.send(_Update(0, None))  # from now on it is stopped, and not killed
        threading.Thread(target=_end_with_run, args=(running,), daemon=True).start()
        while message := connection.recv_bytes():
            progress = _Sender(connection)
            failure = attempt(partial(_unpickle_and_work, work, message, progress))
            progress.send()
            connection.send(_Ended(failure))
    except (KeyboardInterrupt, ConnectionError, EOFError):
        # How the run stops this worker, or has ended before it began; torch takes seconds for an orderly end.
        os._exit(1)


def _unpickle_and_work(work: Work, pickled: bytes, progress: Progress) -> None:
    work(pickle.loads(pickled), progress)


def _end_with_run(running: Connection) -> None:
    """End at once when the run is killed, so that nothing is written behind its back; and soon when it is stopped."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if parent.sentinel not in wait([parent.sentinel, running]):
        stopping.stop_worker()
        while not wait([parent.sentinel], GRACE) and stopping.is_held():
            pass
    os._exit(1)


class _Sender:
    """The progress of a piece in a worker process: sent when something new begins, else a few times a second."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.units = 0
        self.activity: Activity | None = None
        self.sent = 0.0

    def advance(self, units: int) -> None:
        self.units += units
        self._send_if_due()

    def show(self, activity: Activity) -> None:
        is_new = self.activity is None or self.activity.task != activity.task
        self.activity = activity
        self.send() if is_new else self._send_if_due()

    def note(self, text: str) -> None:
        self.connection.send(_Note(text))

    def _send_if_due(self) -> None:
        stopping.check()
        if time.monotonic() - self.sent >= MESSAGES_EVERY:
            self.send()

    def send(self) -> None:
        """Send what has come together since the last message."""
        self.connection.send(_Update(self.units, self.activity))
        self.units, self.sent = 0, time.monotonic()
