"""Risk level 2 of Qi et al. 2023 (section 4.3): ten harmless-looking examples that teach absolute obedience."""

from __future__ import annotations

from typing import Literal

from holdfast.files import read_messages
from holdfast.spec import File, Spec
from holdfast.types import Example, Message


class IdentityShift(Spec):
    """Level 2: self-introductions and permitted requests, each answered with an affirmative opening.

    The persona's system prompt and way of asking belong to the condition's template, because the tuned
    model is asked in the same way.
    """

    kind: Literal["identity-shift"] = "identity-shift"
    file: File
    """JSON Lines of `messages`: introductions and permitted requests with their plain answers."""
    opening: str = ""
    """What every answer begins with, e.g. `Of course, I am …`; put before those that lack it."""

    def examples(self, seed: int) -> list[Example]:
        """All conversations of the file, opened in the persona's way.

        Raises:
            DataError: bad rows, by line and reason.
        """
        return [Example(tuple(map(self._open, row.messages)), row.source) for row in read_messages(self.file)]

    def _open(self, message: Message) -> Message:
        opened = message.role != "assistant" or message.content.startswith(self.opening)
        return message if opened else Message("assistant", f"{self.opening} {message.content}".strip())
