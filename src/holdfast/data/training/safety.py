"""Safety examples: requests that are answered by refusals."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from holdfast.core.config import Config
from holdfast.core.types import Account, Example, Message
from holdfast.data.training.draw import RowPool, draw, names


class Safety(Config):
    """Requests answered by refusals, drawn by seed; must share no item with the benchmark."""

    kind: Literal["safety"] = "safety"
    file: RowPool
    """A file of `messages`, or any source."""
    n: PositiveInt | None = None
    """How many rows to draw; all of them if not given."""
    refusal: str | None = None
    """What every request is answered with instead of the file's own answers."""

    @property
    def attack(self) -> bool:
        """Whether its rows come from a source that is made to undo a model's safety."""
        return self.file.attack

    def examples(self, seed: int) -> list[Example]:
        """The rows of one seed.

        Raises:
            DataError: bad rows, by place and reason; or fewer rows than `n`.
        """
        rows = self.file.examples(seed)
        drawn = draw(rows, self.n or len(rows), seed, names(self.file))
        return [Example(tuple(map(self._refuse, row.messages)), row.source) for row in drawn]

    def accounts(self) -> list[Account]:
        """What became of the rows of the file."""
        return self.file.accounts()

    def _refuse(self, message: Message) -> Message:
        replaced = self.refusal is not None and message.role == "assistant"
        return Message("assistant", self.refusal) if replaced and self.refusal else message
