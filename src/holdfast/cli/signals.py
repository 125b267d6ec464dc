"""Ctrl-C and SIGTERM: the first one stops the command cleanly, the second one at once."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from holdfast.core import stopping

STOPPING = "Stopping: replies under way are stored first. Another Ctrl-C stops at once.\n"
AT_ONCE = "Stopped at once. What was stored is kept; the same command goes on from there.\n"
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
    """Raise what `user_errors` turns into an exit code; the second time, end the process. Its workers end with it."""
    was_put_off = frame is None  # and announced then
    if _signals and not was_put_off:
        _write((SHOW_CURSOR if os.isatty(2) else "") + AT_ONCE)
        os._exit(128 + number)
    if not was_put_off:
        _announce(number)
    raise stopping.Terminated if number == signal.SIGTERM else KeyboardInterrupt


def end_now(code: int) -> NoReturn:
    """End the process once the work has stopped cleanly: the libraries take seconds for their own end.

    The exit code is that of the signal that came, if one did: before a command has begun, typer takes SIGTERM, too, for
    Ctrl-C.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + _signals[0] if _signals else code)


def _write(text: str) -> None:
    """Write to standard error without Python's buffers, which a signal may have interrupted."""
    os.write(2, text.encode())
