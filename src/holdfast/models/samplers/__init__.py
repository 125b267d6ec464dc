"""Whom a judge asks: a server, a model in this process, or any model of Inspect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.core.protocols import Configured, Ledger
from holdfast.core.types import Message
from holdfast.models.endpoint.messages import Outcome

ASKERS = {
    "server": "holdfast.models.samplers.server:Server",
    "local": "holdfast.models.samplers.local:Local",
    "inspect": "holdfast.models.samplers.inspect_model:InspectModel",
}
"""Whom a judge can ask, by name."""


@dataclass(frozen=True)
class Question:
    """One thing that a judge wants to be told."""

    id: str
    """The judge's name for it; distinct among those that are asked together."""
    messages: tuple[Message, ...]
    """The conversation, which ends with the user's turn."""
    max_tokens: int
    """Where the reply is cut."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the reply should follow, for those who can be held to one."""


@dataclass(frozen=True)
class Said:
    """What became of one question, with exactly one outcome."""

    id: str
    """The question's id."""
    outcome: Outcome
    """`ok`; `truncated` at the token limit; `refused` by the model in a field of its own; `filtered` by a provider;
    `empty`; `error`: no reply came."""
    text: str = ""
    """The reply without its thinking."""
    model: str = ""
    """The model that replied, as it is called where it is."""
    usd: float = 0.0
    """US dollars; 0 where no price is known."""
    detail: str = ""
    """Why, unless it is `ok`."""


class Asker(Configured, Protocol):
    """Somebody who can be asked."""

    @property
    def takes_schema(self) -> bool:
        """Whether a reply can be held to a JSON schema, as far as is known by now."""

    @property
    def paid(self) -> bool:
        """Whether its replies cost something."""

    def worst(self, questions: Sequence[Question]) -> tuple[int, float]:
        """The most tokens and US dollars that the questions can take."""

    def ask(self, questions: Iterable[Question], ledger: Ledger) -> Iterator[Said]:
        """What is said to each question, in any order, each as soon as it is there.

        What it costs goes through the ledger.

        Raises:
            ModelError: what would fail for every question.
            BudgetError: the cap is reached.
        """
