"""Any JSON Lines file of conversations: a user's own rows, or a benign set."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import PositiveInt

from holdfast.errors import DataError
from holdfast.files import read_messages
from holdfast.spec import File, Spec
from holdfast.types import Example


class Messages(Spec):
    """Rows of a JSONL file of `messages`, all of them or `n` drawn by seed."""

    kind: Literal["messages"] = "messages"
    file: File
    """JSON Lines; each row is `{"messages": [{"role", "content"}, …]}`."""
    n: PositiveInt | None = None
    """How many rows to draw without replacement; all of them, in file order, if not given."""

    def examples(self, seed: int) -> list[Example]:
        """The rows of one seed.

        Raises:
            DataError: bad rows, by line and reason; or fewer rows than `n`.
        """
        rows = read_messages(self.file)
        return rows if self.n is None else draw(rows, self.n, seed, str(self.file))


def draw(rows: list[Example], n: int, seed: int, where: str) -> list[Example]:
    """`n` rows drawn by seed without replacement; a smaller draw is the beginning of a larger one."""
    if n > len(rows):
        raise DataError(f"{where} has {len(rows)} rows, but {n} were asked for.")
    return random.Random(f"draw-{seed}").sample(rows, len(rows))[:n]
