"""Safety examples: requests answered by refusals."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from holdfast.data.messages import draw
from holdfast.files import read_messages
from holdfast.spec import File, Spec
from holdfast.types import Example, Message


class Safety(Spec):
    """Requests answered by refusals, drawn by seed; must share no item with the benchmark."""

    kind: Literal["safety"] = "safety"
    file: File
    """JSON Lines of `messages`."""
    n: PositiveInt | None = None
    """How many rows to draw; all of them if not given."""
    refusal: str | None = None
    """What every request is answered with instead of the file's own answers."""

    def examples(self, seed: int) -> list[Example]:
        """The rows of one seed.

        Raises:
            DataError: bad rows, by line and reason; or fewer rows than `n`.
        """
        rows = read_messages(self.file)
        drawn = draw(rows, self.n or len(rows), seed, str(self.file))
        return [Example(tuple(map(self._refuse, row.messages)), row.source) for row in drawn]

    def _refuse(self, message: Message) -> Message:
        replaced = self.refusal is not None and message.role == "assistant"
        return Message("assistant", self.refusal) if replaced and self.refusal else message
