"""Chat completions, plain and streamed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from holdfast.service import answering
from holdfast.service.chat_shapes import ChatCompletion, NewChat
from holdfast.service.keys import Caller
from holdfast.service.logs import log
from holdfast.service.routes.common import Here, errors, with_scope
from holdfast.service.routes.models import find_to_ask

router = APIRouter(prefix="/v1/chat/completions", tags=["Chat"])

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream`, server-sent events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class EventStream(StreamingResponse):
    """A stream that stops its engine however it ends, also where the client does not read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()


@router.post("", responses={**STREAM, **errors(404)}, response_model=ChatCompletion)
async def create(
    request: Request, asked: NewChat, service: Here, caller: Annotated[Caller, with_scope("ask", "audit")]
) -> ChatCompletion | StreamingResponse:
    """Answer a conversation."""
    base, model = asked.model, None
    if base not in service.policy.bases:
        base, model = await run_in_threadpool(find_to_ask, service, caller, asked.model)
    checkpoint = service.checkpoint(base, model)
    if not asked.stream:
        return await answering.whole(service, base, checkpoint, asked, request.is_disconnected)
    deltas = answering.answer(service, base, checkpoint, asked)
    first = await anext(deltas)  # what cannot be answered is an error with its status, not a stream that breaks off
    name = request.state.request_id

    def note(error: BaseException) -> None:
        log("an answer broke off", logging.ERROR, error, request=name)

    events = answering.events(asked, first, deltas, note)
    return EventStream(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
