"""The process in which chat templates are rendered: a template is a program that came with a model.

It reads requests from its standard input and writes replies to its standard output, each as JSON behind its length.
`templates.py` starts it, and ends it where a template takes too long.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from contextlib import suppress
from datetime import datetime, tzinfo
from pathlib import Path
from typing import IO, Any

MEMORY = 1_000_000_000
"""Bytes that a rendering may take."""
MOST_CHARACTERS = 30_000_000
"""Characters that a rendered conversation may have; the longest training row has 20 million."""

DATE = 2024, 7, 26
"""The year, month and day on which all conversations are rendered."""

LENGTH = struct.Struct(">Q")
"""How the length of a message is written."""


def send(pipe: IO[bytes], message: dict[str, Any]) -> None:
    """Write a message."""
    content = json.dumps(message, default=str).encode()
    pipe.write(LENGTH.pack(len(content)) + content)
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Any] | None:
    """The next message; None where the other side has ended."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    content = pipe.read(length)
    return dict(json.loads(content)) if len(content) == length else None


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = _FixedDate  # type: ignore[attr-defined]
    _limit_memory()
    send(replies, {})
    while (request := receive(requests)) is not None:
        _limit_time(request["seconds"])
        reply = _reply(chat_template_utils.render_jinja_template, request)
        _limit_time(0)
        send(replies, reply)


class _FixedDate(datetime):
    """What templates that write today's date take for today, so that a question is the same on every day."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _FixedDate:
        """The date of all questions."""
        return cls(*DATE)


def _reply(render: Any, request: dict[str, Any]) -> dict[str, str]:
    """The rendered text, or the template's error, or the limit that it went over."""
    try:
        rendered = render(
            conversations=[request["conversation"]], chat_template=request["template"],
            add_generation_prompt=request["generation_prompt"], **request["settings"],
        )  # fmt: skip
    except MemoryError:
        return {"limit": f"takes more than {MEMORY / 1e9:.0f} GB of memory"}
    except Exception as error:  # a template may raise anything
        return {"error": str(error)[:2000]}
    text = str(rendered[0][0])
    return {"text": text} if len(text) <= MOST_CHARACTERS else {"limit": f"writes {len(text):,} characters"}


def _limit_memory() -> None:
    """Refuse more memory than a rendering may take, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_time(seconds: float) -> None:
    """Have the system end this process after so much processor time, whatever it does then; 0 takes the limit away."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
