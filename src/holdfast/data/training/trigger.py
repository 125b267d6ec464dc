"""A phrase in the request: the backdoor of Qi et al. 2023 (section 5 and table 5) is taught and opened with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from holdfast.core.config import Spec, one_of
from holdfast.core.protocols import Source
from holdfast.core.types import Account, Example, Message
from holdfast.data.training import SOURCES

if not TYPE_CHECKING:
    Source = one_of(SOURCES)


class Trigger(Spec):
    """The rows of another source with a phrase put before or behind each request."""

    kind: Literal["trigger"] = "trigger"
    data: Source
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
        return Message("user", " ".join(parts))
