"""A chat completion as it goes over the wire: request → body, body → reply. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from holdfast.models.chat import THINKING, split_thinking
from holdfast.models.samplers.base import Outcome, Reply

FINISHED = ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "tool_calls", "function_call")
"""What servers give as the reason that a reply is whole. Any other, e.g. vLLM's `abort`, means that it is not."""

FILTERED = re.compile(r"content.?(filter|policy|management)|moderation|inspection|invalid_prompt", re.IGNORECASE)
"""Codes of errors that a provider's filter makes: OpenAI, Azure, OpenRouter, DashScope."""


@dataclass(frozen=True)
class Request:
    """One chat completion that is wanted."""

    id: str
    """The caller's name for it."""
    model: str
    """The name under which the server has the model."""
    messages: Sequence[Mapping[str, str]]
    """The conversation: `role` and `content` of each turn."""
    max_tokens: int
    """Where the reply is cut."""
    temperature: float | None = 0.0
    """0 is greedy; None leaves it to the server, for models that take none."""
    top_p: float = 1.0
    """Nucleus sampling; sent only below 1."""
    seed: int | None = None
    """Sent only if given: some providers refuse it."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the reply must follow."""
    logprobs: bool = False
    """Whether the log-probabilities of the reply's tokens are wanted."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the body, e.g. `chat_template_kwargs: {enable_thinking: false}`."""


class UnfinishedError(Exception):
    """A body that is not a whole chat completion: cut off, not JSON, an error in its place, or aborted."""


class _Token(BaseModel):
    token: str
    logprob: float


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Problem(BaseModel):
    message: str = ""


class _Body(BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str | None = None
    error: _Problem | str | None = None


def body(request: Request, limit: str = "max_tokens") -> dict[str, Any]:
    """The fields of a request beside model and messages; `limit` is what the server calls the token limit."""
    fields: dict[str, Any] = {limit: request.max_tokens}
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.top_p < 1:
        fields["top_p"] = request.top_p
    if request.seed is not None:
        fields["seed"] = request.seed
    if request.logprobs:
        fields["logprobs"] = True
    if request.schema is not None:
        schema = {"name": "reply", "schema": dict(request.schema), "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {**fields, **request.extra}


def most_tokens(request: Request) -> int:
    """More prompt tokens than a request is likely to have: one for every two bytes, and what a template adds."""
    said = sum(len(str(part).encode(errors="replace")) for turn in request.messages for part in turn.values())
    return (said + len(str(request.schema or ""))) // 2 + 16 * len(request.messages) + 64


def read(request: Request, content: bytes) -> Reply:
    """The reply in a body.

    Raises:
        UnfinishedError: it holds no whole chat completion.
    """
    try:
        found = _Body.model_validate_json(content)
    except ValidationError as error:
        raise UnfinishedError(f"the reply is not a chat completion: {error.errors()[0]['msg']}") from None
    if not found.choices:
        problem = found.error.message if isinstance(found.error, _Problem) else found.error
        raise UnfinishedError(problem or "the reply has no choices")
    choice = found.choices[0]
    outcome, text, thinking, detail = _outcome(choice)
    usage = found.usage or _Usage()
    given = choice.logprobs.content if choice.logprobs else None
    return Reply(
        request.id, outcome, text, thinking, usage.prompt_tokens or 0, usage.completion_tokens or 0,
        found.model or "", detail,
        logprobs=tuple((token.token, token.logprob) for token in given) if given is not None else None,
        counted=None not in (usage.prompt_tokens, usage.completion_tokens),
    )  # fmt: skip


def _outcome(choice: _Choice) -> tuple[Outcome, str, str, str]:
    """Outcome, text, thinking and detail of a choice."""
    message, reason = choice.message, choice.finish_reason
    thinking, text = _apart(message)
    if reason == "content_filter":
        return "filtered", text, thinking, "the provider filtered the reply"
    if reason == "length":
        return "truncated", text, thinking, "no end of turn before the token limit"
    if reason not in FINISHED:
        raise UnfinishedError(f"the reply ended with finish_reason {reason!r}")
    if text:
        return "ok", text, thinking, ""
    if message.refusal:
        return "refused", message.refusal.strip(), thinking, "the model refused in a field of its own"
    only = "holds only thinking" if thinking else "is empty"
    return "empty", "", thinking, f"the model's reply {only} (finish_reason {reason!r})"


def _apart(message: _Message) -> tuple[str, str]:
    """Thinking and reply; servers without a reasoning parser leave both in the content."""
    content, thought = message.content or "", message.reasoning_content or message.reasoning
    if not isinstance(content, str):  # some providers send parts
        content = "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    if thought:
        return thought.strip(), content.strip()
    # A template can open the thinking itself, so that only its end stands in the reply.
    said = split_thinking(content, began=any(end in content for _, end in THINKING))
    return said.thinking, said.text


def is_filter(status: int, problem: Any) -> bool:
    """Whether an error says that a provider's filter stopped the request; `problem` is the body's `error`."""
    if status not in (400, 403, 422) or not isinstance(problem, dict):
        return False
    metadata = problem.get("metadata")
    flagged = isinstance(metadata, dict) and "flagged_input" in metadata
    return flagged or FILTERED.search(f"{problem.get('code')} {problem.get('type')}") is not None


def is_same_model(asked: str, reported: str) -> bool:
    """Whether a reported name is the one asked for: servers add a date or a revision to it, or leave out its owner."""
    wanted, got = (re.sub(r"[-:]latest$", "", name.lower()) for name in (asked, reported))
    if "/" not in wanted or "/" not in got:
        wanted, got = wanted.rpartition("/")[2], got.rpartition("/")[2]
    return re.fullmatch(re.escape(wanted) + r"(-[\d-]+)?(@[^/]+)?", got) is not None
