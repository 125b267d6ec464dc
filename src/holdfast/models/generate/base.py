"""What a reply makes of an answer, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.core.types import Answer, Message, Outcome
from holdfast.models.samplers.base import Outcome as ReplyOutcome
from holdfast.models.samplers.base import Question, Reply

Conversations = Mapping[str, Sequence[Message]]
"""Prompt id → the conversation that asks it."""

OUTCOMES: Mapping[ReplyOutcome, Outcome] = {
    "ok": "answered", "truncated": "truncated", "refused": "answered",
    "filtered": "blocked", "empty": "blocked", "error": "backend_error",
}  # fmt: skip
"""A reply's outcome → the answer's. A model that refuses in a field of its own has answered."""


def questions_of(conversations: Conversations, max_tokens: int) -> list[Question]:
    """Conversations as questions to a sampler."""
    return [Question(name, tuple(messages), max_tokens) for name, messages in conversations.items()]


def answer_of(reply: Reply) -> Answer:
    """The answer that a reply is."""
    outcome = OUTCOMES[reply.outcome]
    text = reply.text if outcome in ("answered", "truncated") else ""
    return Answer(reply.id, outcome, text, reply.tokens, reply.detail, reply.thinking, reply.prompt_tokens, reply.usd)
