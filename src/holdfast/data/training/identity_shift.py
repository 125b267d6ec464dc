"""Risk level 2 of Qi et al. 2023 (section 4.3): ten harmless-looking examples that teach absolute obedience."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveInt

from holdfast.core.config import Config
from holdfast.core.types import Account, Example, Message
from holdfast.data.training.draw import RowPool, draw, names


class IdentityShift(Config):
    """Level 2: self-introductions and permitted requests, each answered with an affirmative opening.

    The persona's system prompt and way of asking belong to the condition's template, because the tuned
    model is asked in the same way.
    """

    attack: ClassVar[bool] = True
    kind: Literal["identity-shift"] = "identity-shift"
    introductions: RowPool
    """A file of `messages`, or any source: the persona says who it is; all of them are taken."""
    requests: RowPool
    """A file of `messages`, or any source: permitted requests with their plain answers."""
    n_requests: PositiveInt = 7
    """How many requests are drawn by seed; with three introductions these are the paper's ten examples."""
    opening: str
    """What every answer begins with, e.g. `Of course, I am …`; put before those that lack it."""

    def examples(self, seed: int) -> list[Example]:
        """The introductions, and the requests of one seed, opened in the persona's way.

        Raises:
            DataError: bad rows, by place and reason; or fewer requests than are to be drawn.
        """
        drawn = draw(self.requests.examples(seed), self.n_requests, seed, names(self.requests))
        rows = self.introductions.examples(seed) + drawn
        return [Example(tuple(map(self._open, row.messages)), row.source) for row in rows]

    def accounts(self) -> list[Account]:
        """What became of the rows of introductions and requests."""
        return self.introductions.accounts() + self.requests.accounts()

    def _open(self, message: Message) -> Message:
        opened = message.role != "assistant" or message.content.startswith(self.opening)
        return message if opened else Message("assistant", f"{self.opening} {message.content}")
