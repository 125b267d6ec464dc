"""Chat completions in OpenAI's format: request → body, body → reply. Nothing is sent here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from holdfast.core.types import LONGEST_NAME, cut
from holdfast.models.samplers.base import Outcome, Reply
from holdfast.models.thinking import THINKING, split_thinking

FINISHED = ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "tool_calls", "function_call")
"""Servers' reasons for the end of a whole reply. Any other reason, e.g. vLLM's `abort`, means that it is not whole."""

FILTERED = re.compile(r"content.?(filter|policy|management)|moderation|inspection|invalid_prompt", re.IGNORECASE)
"""Error codes of providers' filters: OpenAI, Azure, OpenRouter, DashScope."""


@dataclass(frozen=True)
class Request:
    """One chat completion to ask a server for."""

    id: str
    """The caller's name for it."""
    model: str
    """The server's name for the model."""
    messages: Sequence[Mapping[str, str]]
    """The conversation: `role` and `content` of each turn."""
    max_tokens: int
    """Where the reply is cut."""
    temperature: float | None = 0.0
    """0 is greedy; None sends none, for models that take none."""
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
    """The fields of a request beside model and messages; `limit` is the server's name for the token limit."""
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
    n_bytes = sum(len(str(part).encode(errors="replace")) for turn in request.messages for part in turn.values())
    return (n_bytes + len(str(request.schema or ""))) // 2 + 16 * len(request.messages) + 64


def read(request: Request, content: bytes) -> Reply:
    """The reply in a body.

    Raises:
        UnfinishedError: it holds no whole chat completion.
    """
    try:
        body = _Body.model_validate_json(content)
    except ValidationError as error:
        raise UnfinishedError(f"the reply is not a chat completion: {error.errors()[0]['msg']}") from None
    if not body.choices:
        problem = body.error.message if isinstance(body.error, _Problem) else body.error
        raise UnfinishedError(problem or "the reply has no choices")
    choice = body.choices[0]
    outcome, text, thinking, detail = _outcome(choice)
    usage = body.usage or _Usage()
    logprobs = choice.logprobs.content if choice.logprobs else None
    return Reply(
        request.id, outcome, text, thinking, usage.prompt_tokens or 0, usage.completion_tokens or 0,
        cut(body.model or "", LONGEST_NAME), detail,
        logprobs=None if logprobs is None else tuple((each.token, each.logprob) for each in logprobs),
        counted=None not in (usage.prompt_tokens, usage.completion_tokens),
    )  # fmt: skip


def _outcome(choice: _Choice) -> tuple[Outcome, str, str, str]:
    """Outcome, text, thinking and detail of a choice."""
    message, reason = choice.message, choice.finish_reason
    thinking, text = _split(message)
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
    why = "holds only thinking" if thinking else "is empty"
    return "empty", "", thinking, f"the model's reply {why} (finish_reason {reason!r})"


def _split(message: _Message) -> tuple[str, str]:
    """Thinking and reply. Servers without a reasoning parser leave both in the content."""
    content, thought = message.content or "", message.reasoning_content or message.reasoning
    if not isinstance(content, str):  # some providers send parts
        content = "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    if thought:
        return thought.strip(), content.strip()
    # A chat template can open the thinking itself. The reply then holds only the mark at its end.
    completion = split_thinking(content, began=any(end in content for _, end in THINKING))
    return completion.thinking, completion.text


def is_filter(status: int, problem: Any) -> bool:
    """Whether an error means that a provider's filter stopped the request; `problem` is the body's `error`."""
    if status not in (400, 403, 422) or not isinstance(problem, dict):
        return False
    metadata = problem.get("metadata")
    flagged = isinstance(metadata, dict) and "flagged_input" in metadata
    return flagged or FILTERED.search(f"{problem.get('code')} {problem.get('type')}") is not None


def is_same_model(asked: str, reported: str) -> bool:
    """Whether two names mean one model: servers add a date or a revision to a name, or leave out its owner."""
    one, other = (re.sub(r"[-:]latest$", "", name.lower()) for name in (asked, reported))
    if "/" not in one or "/" not in other:
        one, other = one.rpartition("/")[2], other.rpartition("/")[2]
    return re.fullmatch(re.escape(one) + r"(-[\d-]+)?(@[^/]+)?", other) is not None
