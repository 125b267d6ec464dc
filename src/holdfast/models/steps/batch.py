"""One model's conversations, generated together: new ones join and finished ones leave after any token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from holdfast.models.steps.memory import Memory

if TYPE_CHECKING:
    import torch

PREFILL_TOKENS = 16384
"""Tokens of prompts, padding included, that are read in one step. A longer prompt is read alone."""

SHORTEST_SHARED = 8
"""Tokens from which on it pays to read a beginning once."""


@dataclass
class Row:
    """One conversation that is being continued."""

    prompt: Sequence[int]
    """Token ids."""
    limit: int
    """Tokens to generate at most."""
    pick: Callable[[torch.Tensor, Sequence[int]], int]
    """Logits of the next token, and the token ids so far → the next token."""
    ends: frozenset[int]
    """Tokens that end the turn."""
    adapter: str = ""
    """The name of the adapter that it is asked with; "" for the base itself."""
    new: list[int] = field(default_factory=list)
    """Token ids generated so far, the end of turn included."""
    cancelled: bool = False
    """Whether nobody waits for it any more."""

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be generated."""
        return self.cancelled or len(self.new) >= self.limit or (bool(self.new) and self.new[-1] in self.ends)


class Asked(Protocol):
    """A model as a batch asks it."""

    def new_memory(self) -> Memory:
        """An empty memory."""

    def choose(self, adapters: Sequence[str]) -> None:
        """Say which adapter each row of the next passes is asked with; "" is none."""


class Batch:
    """The rows of one model. Only one thread may use it.

    Args:
        model: the model that is asked, with its adapters.
        most: rows at once; others wait.
        share: whether rows whose prompts are read together read the beginning that all share once; only where all
            have the same adapter.
    """

    def __init__(self, model: Asked, most: int, share: bool = False) -> None:
        self.model, self.most, self.share = model, most, share
        self.rows: list[Row] = []
        self.waiting: list[Row] = []
        self._memory: Memory | None = None
        """Of the rows; None where there are none."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.rows or self.waiting)

    def step(self) -> list[Row]:
        """One more token for every row; returns the rows that got one, or that ended."""
        import torch

        with torch.inference_mode():
            moved = self._decode() if self.rows else []
            if self.waiting and self._may_join():
                moved += self._prefill()
            self._drop_finished()
        return moved

    def clear(self) -> list[Row]:
        """Forget everything, after an error; returns the rows that were there."""
        rows = [*self.rows, *self.waiting]
        self.rows, self.waiting, self._memory = [], [], None
        return rows

    def _decode(self) -> list[Row]:
        """A forward pass with each row's last token."""
        assert self._memory is not None
        self.model.choose([row.adapter for row in self.rows])
        return _picked(self.rows, self._memory.step([row.new[-1] for row in self.rows]))

    def _prefill(self) -> list[Row]:
        """A forward pass with the prompts of rows that join."""
        joining, memory = self._next_to_join(), self.model.new_memory()
        self.model.choose([row.adapter for row in joining])
        prompts = [row.prompt for row in joining]
        moved = _picked(joining, memory.read(prompts, _shared(prompts) if self.share else 0))
        if self._memory is None:
            self._memory = memory
        else:
            self._memory.join(memory)
        self.rows += joining
        return moved

    def _next_to_join(self) -> list[Row]:
        """Waiting rows whose prompts are read together now."""
        joining: list[Row] = []
        longest = 0
        while self.waiting and len(self.rows) + len(joining) < self.most:
            longest = max(longest, len(self.waiting[0].prompt))
            if joining and longest * (len(joining) + 1) > PREFILL_TOKENS:
                break
            joining.append(self.waiting.pop(0))
        return joining

    def _may_join(self) -> bool:
        """Whether rows can join those that are there."""
        return self._memory is None or (len(self.rows) < self.most and self._memory.may_join())

    def _drop_finished(self) -> None:
        """Take finished rows out; the last ones come to their places."""
        going_on = [i for i, row in enumerate(self.rows) if not row.finished]
        if len(going_on) == len(self.rows):
            return
        staying = [i for i in going_on if i < len(going_on)]
        order = list(range(len(going_on)))
        for place, row in zip(sorted(set(order) - set(staying)), going_on[len(staying) :], strict=True):
            order[place] = row
        self.rows = [self.rows[i] for i in order]
        if not self.rows:
            self._memory = None
        elif self._memory is not None:
            self._memory.keep(order)


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens at the beginning several prompts share, the last of each left out; 0 where it does not pay."""
    first, last = (
        min(map(tuple, prompts)),
        max(map(tuple, prompts)),
    )  # in the order of a dictionary: what these share, all share
    most = min(map(len, prompts)) - 1
    same = next((i for i in range(most) if first[i] != last[i]), most)
    return same if len(prompts) > 1 and same >= SHORTEST_SHARED else 0


def _picked(rows: Sequence[Row], logits: torch.Tensor) -> list[Row]:
    """The rows, each with one more token."""
    logits = logits.float()
    likeliest = logits.argmax(-1).tolist()
    for row, scores, first in zip(rows, logits, likeliest, strict=True):
        greedy = row.pick is likeliest_token
        row.new.append(first if greedy else row.pick(scores, [*row.prompt, *row.new]))
    return list(rows)


def likeliest_token(logits: torch.Tensor, before: Sequence[int]) -> int:
    """Greedy decoding. The batch knows it, and does it for all rows at once."""
    return int(logits.argmax())
