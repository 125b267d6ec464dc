"""What the API asks of the engine that answers, and what it gives back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from holdfast.core.types import Checkpoint, Message


@dataclass(frozen=True)
class Params:
    """How an answer is drawn."""

    max_tokens: int
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    stream: bool = True
    """Whether pieces are wanted as they are generated; else the answer comes as one piece, which costs less."""


@dataclass(frozen=True)
class Delta:
    """A piece of an answer. The last one says how it ended and what it took."""

    text: str
    finish: Literal["stop", "length", "content_filter"] | None = None
    prompt_tokens: int = 0
    """Of the last piece: tokens that the model was asked with."""
    completion_tokens: int = 0
    """Of the last piece: tokens that were generated, the end of turn included."""


class TooLongError(Exception):
    """A conversation that does not fit into the model; its message says how long it is and what fits."""


class BadConversationError(Exception):
    """A conversation that the model's chat template cannot render; its message says why."""


class Engine(Protocol):
    """What answers. One engine serves all models of a process."""

    def chat(self, model: Checkpoint, messages: Sequence[Message], params: Params) -> AsyncIterator[Delta]:
        """Answer a conversation piece by piece. Closing the iterator stops the generation.

        Args:
            model: a base of the policy (`folder` is None), or a model that a job made.
            messages: the conversation; roles are system, user and assistant.
            params: how the answer is drawn.

        Raises:
            TooLongError: before the first piece.
            BadConversationError: before the first piece.
        """

    async def forget(self, model: Checkpoint) -> None:
        """Drop what is loaded of a model that was deleted."""

    async def close(self) -> None:
        """End; requests under way are given up."""
