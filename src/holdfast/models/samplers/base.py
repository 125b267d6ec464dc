"""One way to ask a model: questions go in, replies come out, each with exactly one outcome."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from holdfast.core.protocols import Budget, Configured
from holdfast.core.types import Message

Outcome = Literal["ok", "truncated", "refused", "filtered", "empty", "error"]
"""How asking ended: `ok`; `truncated` at the token limit; `refused` by the model in a field of its own; `filtered` by
the provider; `empty`; `error`: no reply came."""


@dataclass(frozen=True)
class Question:
    """One thing to ask a model."""

    id: str
    """The caller's name for it; no two questions that are asked together share one."""
    messages: tuple[Message, ...] = ()
    """The conversation. The model writes the next turn."""
    max_tokens: int = 512
    """Where the reply is cut."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the reply should follow; used where the sampler `takes_schema`."""
    escape: bool = False
    """Whether the messages hold text that others wrote. A model in this process then reads special tokens inside
    them as plain text."""
    prompt_ids: tuple[int, ...] = ()
    """Token ids of the whole prompt, in place of `messages`. Only a model in this process takes them."""
    choices: tuple[str, ...] = ()
    """Tokens of which one is to be chosen, in place of a reply in words: `logprobs` of the reply then holds the
    log-probability of each as the first token, normalised over these tokens. Only for a model in this process."""
    logprobs: bool = False
    """Whether the log-probabilities of the reply's tokens are wanted. Only a server gives them."""


@dataclass(frozen=True)
class Reply:
    """A model's reply to one question, with exactly one outcome."""

    id: str
    """The question's id."""
    outcome: Outcome
    text: str = ""
    """The reply without its thinking; the words of a refusal, if it is one."""
    thinking: str = ""
    """What a reasoning model thought before it replied."""
    prompt_tokens: int = 0
    """Tokens of the prompt; 0 where a server does not say."""
    tokens: int = 0
    """Generated tokens, thinking and the end of turn included; 0 where a server does not say."""
    model: str = ""
    """The model that replied, as its server or folder names it; "" where a server does not say."""
    detail: str = ""
    """Why, unless it is `ok`."""
    usd: float = 0.0
    """US dollars of all attempts, failed ones that may have cost something included; 0 where no price is known."""
    logprobs: tuple[tuple[str, float], ...] | None = None
    """Token and log-probability, if they were asked for and given."""
    counted: bool = False
    """Whether a server said how many tokens there were."""

    def without(self, key: str) -> Reply:
        """The reply without a server's key, wherever the server repeats it."""
        logprobs = self.logprobs and tuple((without_key(token, key), logprob) for token, logprob in self.logprobs)
        text, thinking, model, detail = (
            without_key(each, key) for each in (self.text, self.thinking, self.model, self.detail)
        )
        return replace(self, text=text, thinking=thinking, model=model, detail=detail, logprobs=logprobs)


SHORTEST_KEY = 8
"""Characters. Shorter keys, such as `none`, are no secrets, and can be words of an answer."""


def holds(key: str, text: str) -> bool:
    """Whether a key that is a secret stands in a text."""
    return len(key) >= SHORTEST_KEY and key in text


def without_key(text: str, key: str) -> str:
    """A text with `[key]` in place of a key."""
    return text.replace(key, "[key]") if holds(key, text) else text


class Sampler(Configured, Protocol):
    """A model that can be asked, wherever it is."""

    @property
    def takes_schema(self) -> bool:
        """Whether a reply can be held to a JSON schema, as far as is known so far."""

    @property
    def paid(self) -> bool:
        """Whether replies cost something."""

    def worst(self, questions: Sequence[Question]) -> tuple[int, float]:
        """The most tokens and US dollars that the questions can take."""

    def ask(
        self, questions: Iterable[Question], budget: Budget, seed: int | None = None, skip: Collection[str] = ()
    ) -> Generator[Reply, None, None]:
        """A reply to each question, as soon as it is there, in any order.

        Where replies are drawn at random, they follow from `seed` and the question's id. Questions whose id is in
        `skip` get no reply; a model in this process puts the others into the same batches as if they were asked too,
        so that a run that was stopped goes on with the same replies.

        Raises:
            ModelError: an error that would stop every question.
            BudgetError: the budget's cap is reached.
        """
