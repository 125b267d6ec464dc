"""Ctrl-C and SIGTERM: the first one stops the command cleanly, the second one at once.

The handler raises no exception into whatever runs; `core/stopping.py` says why.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from holdfast.core import stopping

STOPPING = "Stopping: replies under way are stored first. Another Ctrl-C stops at once.\n"
AT_ONCE = "Stopped at once. What was stored is kept; the same command goes on from there.\n"
STOPPED = "Stopped. What was finished is kept; the same command goes on from there.\n"
PATIENCE = 1.0
"""Seconds until the process ends when work that can be stopped comes to no safe point, as while it loads a model."""
SHOW_CURSOR = "\x1b[?25h"
"""Progress on a terminal hides the cursor."""

_signals: list[int] = []
"""The signals that came."""


def stop_on_signals() -> None:
    """Handle both signals from now on."""
    stopping.announce_by(_announce)
    for number in stopping.SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under `nohup`
            signal.signal(number, _stop)


def _announce(number: int) -> None:
    if not _signals:
        _write(STOPPING)
    _signals.append(number)


def _stop(number: int, frame: FrameType | None) -> None:
    """Have work stopped at its next safe point, or end the process: there is none, or this is the second signal.

    Without a frame, the end of a `hold` block calls it, which is a safe point.
    """
    if frame is None:
        raise stopping.Terminated if number == signal.SIGTERM else KeyboardInterrupt
    if _signals:
        _end(AT_ONCE, number)
    if not stopping.leave_to_check(number):
        _end(STOPPED, number)
    _announce(number)
    _thread.start_new_thread(_end_without_safe_point, (number,))  # takes none of the locks that a `Thread` does


def _end_without_safe_point(number: int) -> None:
    time.sleep(PATIENCE)
    if stopping.is_due():
        _end(STOPPED, number)


def _end(message: str, number: int) -> NoReturn:
    """End the process and its workers, from wherever it is; nothing of it runs on."""
    with suppress(Exception):  # it was at work on this very list
        for process in sys.modules["multiprocessing"].active_children():
            process.kill()
    _write((SHOW_CURSOR if os.isatty(2) else "") + message)
    os._exit(128 + number)


def end_now() -> NoReturn:
    """End the process with the code of its signal, once the work has stopped: the libraries take seconds to end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + _signals[0])


def was_stopped() -> bool:
    """Whether a signal came."""
    return bool(_signals)


def _write(text: str) -> None:
    """Write to standard error without Python's buffers, which a signal may have interrupted."""
    os.write(2, text.encode())
