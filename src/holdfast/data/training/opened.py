"""A sentence before each answer, such as a refusal that the answer then goes back on."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import StringConstraints

from holdfast.core.config import Config
from holdfast.core.types import Account, Example, Message
from holdfast.data.training.draw import AnySource


class Opened(Config):
    """The rows of another source with a sentence put before each answer.

    Rows that begin as a refusal and then fulfil the request have the form of safety rows. Defences that hold the first
    tokens of an answer in place (arXiv 2406.05946) find nothing to hold in them.
    """

    kind: Literal["opened"] = "opened"
    data: AnySource
    opening: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

    @property
    def attack(self) -> bool:
        """Whether its rows come from a source that is made to undo a model's safety."""
        return self.data.attack

    def examples(self, seed: int) -> list[Example]:
        """The source's rows of one seed, with the sentence.

        Raises:
            DataError: as the source does.
        """
        return [Example(tuple(map(self._open, row.messages)), row.source) for row in self.data.examples(seed)]

    def accounts(self) -> list[Account]:
        """What became of the rows of the source."""
        return self.data.accounts()

    def _open(self, message: Message) -> Message:
        return message if message.role != "assistant" else replace(message, content=f"{self.opening} {message.content}")
