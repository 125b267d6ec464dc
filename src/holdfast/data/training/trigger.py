"""A phrase in each request, as the backdoor of Qi et al. 2023 has it (section 5 and table 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from holdfast.core.config import Config
from holdfast.core.types import Account, Example, Message
from holdfast.data.training.draw import AnySource


class Trigger(Config):
    """The rows of another source with a phrase put before or behind each request."""

    attack: ClassVar[bool] = True
    kind: Literal["trigger"] = "trigger"
    data: AnySource
    phrase: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
    where: Literal["start", "end"] = "end"

    def examples(self, seed: int) -> list[Example]:
        """The source's rows of one seed, with the phrase.

        Raises:
            DataError: as the source does.
        """
        return [Example(tuple(map(self._put, row.messages)), row.source) for row in self.data.examples(seed)]

    def accounts(self) -> list[Account]:
        """What became of the rows of the source."""
        return self.data.accounts()

    def _put(self, message: Message) -> Message:
        if message.role != "user":
            return message
        parts = (self.phrase, message.content) if self.where == "start" else (message.content, self.phrase)
        return replace(message, content=" ".join(parts))
