"""What every request passes on its way in and out: limits on its body, faults on purpose, a line in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from holdfast.service.errors import ApiError
from holdfast.service.logs import Metrics, log
from holdfast.service.policy import Fault, Faults, Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from holdfast.service.keys import Caller

UPLOAD = ("POST", "/v1/files")
"""The one request whose body is not read at once."""

DRAINED_BYTES = 64 << 20
DRAINED_SECONDS = 5.0
DRAINED_GAP = 0.5
"""How much of a refused body is still read, so that its client gets to see the refusal."""

PAGE_BYTES = 64 << 10
"""Of the body of a request to the console page, which may come from anybody."""
MOST_VALUES = 100_000
"""Objects and lists of a JSON text."""
SHARE = 0.25
"""The part of `waiting_bytes` that one key may have."""
ALL = "all"

FAULT_HEADER = "x-holdfast-fault"


class DroppedError(Exception):
    """A client that is given up: it neither reads nor sends."""


class Gateway:
    """An ASGI middleware.

    Args:
        app: what answers.
        limits: of the policy.
        faults: of the policy.
        metrics: what is counted.
        recognise: an API key → whose it is.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, faults: Faults, metrics: Metrics, recognise: Callable[[str], Caller | None]
    ) -> None:
        self.app, self.limits, self.faults, self.metrics, self.recognise = app, limits, faults, metrics, recognise
        self._held: Counter[str] = Counter()
        """Bytes of bodies under way: of each key, and in all."""
        self._seen: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send, self.limits.idle_seconds)
        scope.setdefault("state", {})["request_id"] = answer.id
        begun = time.monotonic()
        self.metrics.under_way.inc()
        try:
            await self._answer(scope, receive, answer)
        except ApiError as error:
            await answer.fail(error)
        except (DroppedError, ClientDisconnect, OSError):
            await answer.drop()
        except Exception as error:
            log("an error of ours", logging.ERROR, error, request=answer.id)
            await answer.fail(ApiError(500, f"The service made an error. Its log has it as {answer.id}.", "internal"))
        finally:
            self.metrics.under_way.dec()
            self._note(scope, answer, time.monotonic() - begun)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = headers_of(scope)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(400, "Content-Encoding must be left out: no body is decompressed.", "unsupported_encoding")
        fault = self._fault(scope, headers)
        if fault in ("timeout", "drop"):
            await asyncio.sleep(self.faults.timeout_seconds if fault == "timeout" else 0)
            await answer.drop()
            return
        if fault in ("429", "500"):
            raise ApiError(int(fault), "A fault on purpose.", "fault_on_purpose", retry_after=1)
        answer.swallow = fault == "drop-after"
        if (scope["method"], scope["path"].rstrip("/")) == UPLOAD:
            await self.app(scope, Tracked(receive), answer.send)
        else:
            await self._with_body(scope, receive, answer, headers)
        if answer.swallow:
            await answer.drop()

    async def _with_body(self, scope: Scope, receive: Receive, answer: _Answer, headers: dict[str, str]) -> None:
        """Read the whole body, then pass the request on."""
        if not has_body(headers):
            await self.app(scope, receive, answer.send)
            return
        is_of_api = scope["path"].startswith("/v1/")
        owner = await self._owner(scope, receive, headers) if is_of_api else ""
        most = self.limits.body_bytes if is_of_api else PAGE_BYTES
        body, held = bytearray(), 0
        try:
            declared = headers.get("content-length", "0")
            if (declared.isdigit() and int(declared) > most) or not await self._read(receive, body, most, owner):
                await drain(receive, headers)
                raise ApiError(413, f"The body has more than {most:,} bytes.", "body_too_large")
            if swells(body):
                raise ApiError(400, f"The body has more than {MOST_VALUES:,} objects and lists.", "body_too_complex")
            whole, held = bytes(body), len(body)
            body.clear()
            await self.app(scope, _replay(whole, receive), answer.send)
        finally:
            self._count(owner, -held - len(body))

    async def _owner(self, scope: Scope, receive: Receive, headers: dict[str, str]) -> str:
        """The id of the key that a request comes with: nobody else's body is read.

        Raises:
            ApiError: there is none, or it is unknown.
        """
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer" or not secret:
                raise ApiError(401, "Give an API key: `Authorization: Bearer KEY`.", "missing_api_key")
            caller = await run_in_threadpool(self.recognise, secret.strip())
            if caller is None:
                raise ApiError(401, "The API key is unknown or revoked.", "invalid_api_key")
        except ApiError:
            await drain(receive, headers)
            raise
        scope["state"]["caller"] = caller
        return caller.id

    def _count(self, owner: str, n_bytes: int) -> None:
        for name in (owner, ALL):
            self._held[name] += n_bytes
            if not self._held[name]:
                del self._held[name]

    async def _read(self, receive: Receive, body: bytearray, most: int, owner: str) -> bool:
        """Read the body; False if it is too large.

        Raises:
            ApiError: the client is too slow, or too much is being read for its key, or for all keys together.
            DroppedError: the client is gone.
        """
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                while True:
                    async with asyncio.timeout(self.limits.idle_seconds):
                        message = await receive()
                    if message["type"] == "http.disconnect":
                        raise DroppedError
                    chunk = message.get("body", b"")
                    if len(body) + len(chunk) > most:
                        return False
                    body += chunk
                    self._count(owner, len(chunk))
                    allowed = self.limits.waiting_bytes
                    if self._held[ALL] > allowed or self._held[owner] > allowed * SHARE:
                        raise ApiError(429, "Too many large requests are under way. Try again.", "busy", retry_after=1)
                    if not message.get("more_body"):
                        return True
        except TimeoutError:
            raise ApiError(408, "The body did not come in time.", "timeout") from None

    def _fault(self, scope: Scope, headers: dict[str, str]) -> str | None:
        """The fault that is to happen to this request."""
        if not scope["path"].startswith("/v1/"):
            return None
        ordered = headers.get(FAULT_HEADER, "") if self.faults.by_header else ""
        if ordered in get_args(Fault):
            return ordered
        for fault, each in self.faults.every.items():
            self._seen[fault] += 1
            if self._seen[fault] % each == 0:
                return fault
        return None

    def _note(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        """A line in the log, and the counters. Of the path only its form, of the caller only the id of its key."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE") else "other"
        self.metrics.requests.labels(method, route, str(answer.status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        caller = scope.get("state", {}).get("caller")
        log(
            "request", method=method, route=route, status=answer.status, ms=round(seconds * 1000, 1),
            request=answer.id, key=getattr(caller, "id", None),
        )  # fmt: skip


class _Answer:
    """What goes out for one request."""

    def __init__(self, send: Send, patience: float) -> None:
        self.id = f"req_{secrets.token_hex(12)}"
        self.status = 0
        """Of the answer that went out; 0 where none did."""
        self.swallow = False
        self._send, self._patience, self._begun = send, patience, False

    async def send(self, message: Message) -> None:
        """Pass a message on, unless the client does not read."""
        if self.swallow:
            return
        if message["type"] == "http.response.start":
            self._begun, self.status = True, message["status"]
            headers = [(b"x-request-id", self.id.encode()), (b"x-content-type-options", b"nosniff")]
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        try:
            async with asyncio.timeout(self._patience):
                await self._send(message)
        except TimeoutError:
            raise DroppedError from None

    async def fail(self, error: ApiError) -> None:
        """Answer with an error; a connection on which an answer has begun is closed instead."""
        if self._begun:
            await self.drop()
            return
        body = json.dumps(error.body()).encode()
        headers = {**error.headers, "content-type": "application/json", "content-length": str(len(body))}
        if error.status in (408, 413):
            headers["connection"] = "close"
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": error.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def drop(self) -> None:
        """Close the connection: the server does so where an answer ends before what it promised."""
        if not self._begun:
            self._begun, self.status = True, 0
            headers = [(b"content-length", b"1"), (b"connection", b"close")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})


async def drain(receive: Receive, headers: dict[str, str]) -> None:
    """Read on for a while and keep nothing: a client that still sends when the connection closes sees no answer."""
    if "100-continue" in headers.get("expect", "").lower():
        return  # it has not begun to send
    left = DRAINED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAINED_SECONDS):
            while left > 0 and not getattr(receive, "ended", False):
                async with asyncio.timeout(DRAINED_GAP):
                    message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return


def swells(text: bytes | bytearray) -> bool:
    """Whether a JSON text may take a hundred times its size once it is read; `{}` takes 72 bytes."""
    return text.count(b"{") + text.count(b"[") > MOST_VALUES


def has_body(headers: dict[str, str]) -> bool:
    """Whether a request comes with a body."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class Tracked:
    """A way to receive that knows whether the body has come whole."""

    def __init__(self, receive: Receive) -> None:
        self.ended = False
        self._receive = receive

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        self.ended = self.ended or not message.get("more_body", False)
        return message


def headers_of(scope: Scope) -> dict[str, str]:
    """A request's headers, their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _replay(body: bytes, receive: Receive) -> Receive:
    """A way to receive a body that was read already, and whatever comes after it."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
