"""Chat templates of others: rendered in a process of their own, within limits of time, memory and length.

A template is a program. Its language keeps it from files and from the network, but not from loops without an end or
from texts that double at each step; and a single step can take hours, so that only ending the process helps.
"""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import RenderError
from holdfast.core.files import SHIPPED
from holdfast.models.template_child import DATE, receive, send

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TODAY = datetime(*DATE).strftime("%d %b %Y")
"""The date for templates that are told today's date, so that a question is the same on every day."""

SECONDS = 5.0
"""Processor time that one rendering may take; a usual one takes less than a millisecond."""
WAIT = 60.0
"""Seconds by the clock after which a rendering is ended, should it wait instead of work. Not on Windows."""


class RefusedError(Exception):
    """The template's own error."""


def render(
    tokenizer: PreTrainedTokenizerBase, conversation: Sequence[Mapping[str, Any]], generation_prompt: bool,
    **settings: Any,
) -> str:  # fmt: skip
    """A conversation as the tokenizer's chat template writes it. `settings` is what else the template takes.

    Raises:
        RefusedError: the template refuses the conversation.
        RenderError: the template goes over a limit, now or earlier in this process.
    """
    if tokenizer.chat_template == _ours() or _writes_itself(tokenizer):
        return _here(tokenizer, conversation, generation_prompt, settings)
    request = {
        "template": tokenizer.get_chat_template(), "conversation": conversation, "seconds": SECONDS,
        "generation_prompt": generation_prompt,
        "settings": {**tokenizer.special_tokens_map, "date_string": TODAY, **settings},
    }  # fmt: skip
    reply = _RENDERER.ask(request)
    if "limit" in reply:
        raise RenderError(
            f"the chat template of {tokenizer.name_or_path!r} {reply['limit']}, as no sound template does. It is the "
            "file chat_template.jinja, or `chat_template` in tokenizer_config.json, of the model's folder: replace it, "
            "or use another model."
        )
    if "error" in reply:
        raise RefusedError(reply["error"])
    return str(reply["text"])


@lru_cache(maxsize=1)
def _ours() -> str:
    """The template of the models that come with the package."""
    return (SHIPPED / "aligned" / "chat_template.jinja").read_text(encoding="utf-8")


def _writes_itself(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer's class renders in code of its own, which is part of the transformers package."""
    from transformers import PreTrainedTokenizerBase

    return type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template


def _here(
    tokenizer: PreTrainedTokenizerBase, conversation: Sequence[Any], generation_prompt: bool, settings: Any
) -> str:  # fmt: skip
    try:
        return str(
            tokenizer.apply_chat_template(
                list(conversation), tokenize=False, add_generation_prompt=generation_prompt,
                date_string=TODAY, **settings,
            )
        )  # fmt: skip
    except Exception as error:  # a template is a program and may raise anything
        raise RefusedError(str(error)) from error


class _Renderer:
    """The process that renders, which is started when it is first needed, and again after it had to be ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()
        self._limits: dict[str, str] = {}
        """Template → the limit that it went over. Such a template is not rendered again."""

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a request, of which several threads may each have one."""
        template = request["template"]
        with self._lock:
            if template in self._limits:
                return {"limit": self._limits[template]}
            reply = self._asked(dict(request))
            if "limit" in reply:
                self._limits[template] = reply["limit"]
            return reply

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._started()
        reply = None
        with suppress(OSError):
            send(process.stdin, request)  # type: ignore[arg-type]
            if _answers(process):
                reply = receive(process.stdout)  # type: ignore[arg-type]
        if reply is None:
            self.end()
            return {"limit": f"takes more than {SECONDS:g} s, or more memory than there is"}
        return reply

    def _started(self) -> subprocess.Popen[bytes]:
        """The process.

        Raises:
            RenderError: it cannot be started.
        """
        if self._process is None or self._owner != os.getpid():
            start = f"import sys; sys.path[:] = {sys.path!r}; from holdfast.models.template_child import main; main()"
            self._process = subprocess.Popen(
                [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self._owner = os.getpid()
            if receive(self._process.stdout) is None:  # type: ignore[arg-type]
                self.end()
                raise RenderError("the process that renders chat templates does not start: is there memory for it?")
        return self._process

    def end(self) -> None:
        """End the process, if there is one and it is ours."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        process.wait()


def _answers(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process writes something in time, where the system can tell."""
    return os.name != "posix" or bool(select.select([process.stdout], [], [], WAIT)[0])  # type: ignore[type-var]


_RENDERER = _Renderer()
atexit.register(_RENDERER.end)
