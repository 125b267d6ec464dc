"""From a request for a chat completion to the engine, and back in OpenAI's shapes."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from holdfast.core.types import Checkpoint, Message
from holdfast.service.asking import BadConversationError, Delta, Params, TooLongError
from holdfast.service.chat_shapes import AnswerMessage, ChatCompletion, Choice, NewChat, Usage
from holdfast.service.database import new_id
from holdfast.service.errors import ApiError
from holdfast.service.gateway import DroppedError
from holdfast.service.state import Service


def params_of(service: Service, base: str, asked: NewChat) -> Params:
    """How the answer is drawn."""
    stop = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    wanted = asked.max_completion_tokens or asked.max_tokens
    return Params(
        max_tokens=wanted or service.policy.bases[base].max_new_tokens,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        seed=asked.seed, stop=tuple(text for text in stop if text), stream=bool(asked.stream),
    )  # fmt: skip


def conversation_of(asked: NewChat) -> list[Message]:
    """The turns, `developer` being a newer name of `system`."""
    return [Message("system" if turn.role == "developer" else turn.role, turn.text) for turn in asked.messages]


@asynccontextmanager
async def _slot(service: Service) -> AsyncIterator[None]:
    """A place among the conversations that are answered at once.

    Raises:
        ApiError: too many wait for one.
    """
    limits = service.policy.limits
    if service.stopping:
        raise ApiError(503, "The service is stopping. Try again.", "stopping", retry_after=5)
    if service.waiting >= limits.concurrent_chats + limits.waiting_chats:
        raise ApiError(429, "Too many requests wait for an answer. Try again.", "busy", retry_after=2)
    service.waiting += 1
    try:
        async with service.chats:
            yield
    finally:
        service.waiting -= 1


async def answer(service: Service, base: str, model: Checkpoint, asked: NewChat) -> AsyncGenerator[Delta, None]:
    """The pieces of an answer. Closing it stops the engine.

    Raises:
        ApiError: before the first piece.
    """
    deltas = service.engine.chat(model, conversation_of(asked), params_of(service, base, asked))
    async with _slot(service):
        try:
            async for delta in deltas:
                if delta.finish:
                    name = base if model.folder is None else f"{base} tuned"
                    service.metrics.tokens.labels(name, "prompt").inc(delta.prompt_tokens)
                    service.metrics.tokens.labels(name, "completion").inc(delta.completion_tokens)
                yield delta
        except TooLongError as error:
            raise ApiError(400, str(error), "context_length_exceeded", "messages") from None
        except BadConversationError as error:
            raise ApiError(400, str(error), "invalid_conversation", "messages") from None
        finally:
            if isinstance(deltas, AsyncGenerator):
                await deltas.aclose()


async def whole(
    service: Service, base: str, model: Checkpoint, asked: NewChat, gone: Callable[[], Awaitable[bool]] | None = None
) -> ChatCompletion:
    """A whole answer; given up where `gone` says that nobody waits for it any more.

    Raises:
        ApiError: the request cannot be answered.
    """
    texts, last = [], Delta("")
    async with aclosing(answer(service, base, model, asked)) as deltas:
        async for last in deltas:
            texts.append(last.text)
            if gone is not None and last.finish is None and await gone():
                raise DroppedError
    if last.finish is None:
        raise RuntimeError("the engine did not say how the answer ended")
    return ChatCompletion(
        id=new_id("chatcmpl-"), created=int(time.time()), model=asked.model,
        choices=[Choice(message=AnswerMessage(content="".join(texts)), finish_reason=last.finish)], usage=usage(last),
    )  # fmt: skip


def usage(last: Delta) -> Usage:
    """What an answer took, by its last piece."""
    total = last.prompt_tokens + last.completion_tokens
    return Usage(prompt_tokens=last.prompt_tokens, completion_tokens=last.completion_tokens, total_tokens=total)


async def events(
    asked: NewChat, first: Delta, deltas: AsyncGenerator[Delta, None], on_error: Callable[[BaseException], None]
) -> AsyncIterator[str]:
    """A stream's server-sent events."""
    fixed = {"id": new_id("chatcmpl-"), "object": "chat.completion.chunk", "created": int(time.time()),
             "model": asked.model}  # fmt: skip
    with_usage = bool(asked.stream_options and asked.stream_options.include_usage)

    def event(choices: list[object], **more: object) -> str:
        body = {**fixed, "choices": choices, **({"usage": None} if with_usage else {}), **more}
        return f"data: {json.dumps(body)}\n\n"

    async with aclosing(deltas):
        try:
            yield event([_choice({"role": "assistant", "content": ""})])
            delta: Delta | None = first
            while delta is not None:
                last = delta
                if delta.text:
                    yield event([_choice({"content": delta.text})])
                delta = await anext(deltas, None)
            yield event([_choice({}, last.finish)])
            if with_usage:
                yield event([], usage=usage(last).model_dump())
            yield "data: [DONE]\n\n"
        except ApiError as error:
            yield f"data: {json.dumps(error.body())}\n\n"
        except Exception as error:
            on_error(error)
            broken = ApiError(500, "The answer broke off: the service made an error.", "internal")
            yield f"data: {json.dumps(broken.body())}\n\n"


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
