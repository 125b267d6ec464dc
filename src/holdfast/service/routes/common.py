"""What all routes need: who asks, the part of a list that is asked for, creations that may be sent again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from holdfast.service import keys
from holdfast.service.database import File, Job, Repeat, now
from holdfast.service.errors import ApiError, missing
from holdfast.service.keys import Caller, Scope
from holdfast.service.shapes import ErrorBody, Page
from holdfast.service.state import Service

Row = TypeVar("Row")
Shape = TypeVar("Shape")

BEARER = HTTPBearer(auto_error=False, description="An API key that `holdfast serve keys create` made.")

SAID = {
    400: "The request is not right.",
    401: "The API key is missing, unknown or revoked.",
    403: "The API key has not the scope that this needs.",
    404: "There is no such object that this key can see.",
    408: "The body did not come in time.",
    409: "It cannot be done in the state that the object is in.",
    413: "The body is too large.",
    429: "The key, or the service, has too many requests. `Retry-After` says when to try again.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route as its documentation has them; those that every route has included."""
    all_of_them = sorted({400, 401, 403, 408, 413, 429, *statuses})
    return {status: {"model": ErrorBody, "description": SAID[status]} for status in all_of_them}


async def service_of(request: Request) -> Service:
    """The service that a request came to. It is async, as all here that does not wait: others cost a thread each."""
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(service_of)]


async def identify(
    request: Request, response: Response, service: Here,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> Caller:  # fmt: skip
    """Whose request it is, and one request taken from what the key may ask in a minute."""
    if given is None:
        raise ApiError(401, "Give an API key: `Authorization: Bearer KEY`.", "missing_api_key")
    caller: Caller | None = getattr(request.state, "caller", None)
    caller = caller or await run_in_threadpool(keys.recognise, service.database, given.credentials)
    if caller is None:
        raise ApiError(401, "The API key is unknown or revoked.", "invalid_api_key")
    request.state.caller = caller
    taken = service.rates.take(caller.id)
    if taken.retry_after is not None:
        message = f"This key may ask {taken.limit:,} times a minute."
        raise ApiError(429, message, "rate_limit_exceeded", retry_after=taken.retry_after)
    response.headers["x-ratelimit-limit-requests"] = str(taken.limit)
    response.headers["x-ratelimit-remaining-requests"] = str(taken.remaining)
    return caller


def with_scope(*scopes: Scope) -> Any:
    """A dependency: the caller, who must have one of the scopes."""

    async def check(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        if not caller.may(*scopes):
            needed = " or ".join(f"`{scope}`" for scope in scopes)
            raise ApiError(403, f"This needs a key with the scope {needed}.", "missing_scope")
        return caller

    return Depends(check)


After = Annotated[str | None, Query(max_length=255, description="The id behind which the list begins.")]
Limit = Annotated[int, Query(ge=1, le=100, description="How many objects are wanted.")]
IdempotencyKey = Annotated[str | None, Header(max_length=255, description="The same key makes nothing twice.")]


def visible(query: Select[Any], table: Any, caller: Caller) -> Select[Any]:
    """Only what the caller made; everything for an operator."""
    return query if caller.sees_all else query.where(table.owner == caller.id)


def one(session: Session, table: type[Row], what: str, name: str, caller: Caller, lock: bool = False) -> Row:
    """One object that the caller can see.

    Raises:
        ApiError: there is none.
    """
    query = visible(select(table).where(table.id == name), table, caller)  # type: ignore[attr-defined]
    row: Row | None = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise missing(what, name)
    return row


def page(
    session: Session, query: Select[Any], table: Any, after: str | None, limit: int,
    shape: Callable[[Any], Shape], newest_first: bool = True,
) -> Page[Shape]:  # fmt: skip
    """A part of a list.

    Raises:
        ApiError: `after` is not in the list.
    """
    if after is not None:
        begin = session.scalar(query.where(table.id == after)) if "\x00" not in after else None
        if begin is None:
            raise ApiError(400, "`after` is no id of this list.", "invalid_value", "after")
        query = query.where(table.number < begin.number if newest_first else table.number > begin.number)
    order = table.number.desc() if newest_first else table.number
    rows = session.scalars(query.order_by(order).limit(limit + 1)).all()
    shown = [shape(row) for row in rows[:limit]]
    ids = [row.id for row in rows[:limit]] or [None]
    return Page(data=shown, has_more=len(rows) > limit, first_id=ids[0], last_id=ids[-1])


def once(
    service: Service, caller: Caller, route: str, header: str | None, asked: Any, table: type[Row],
    make: Callable[[Session], Row],
) -> tuple[Row, bool]:  # fmt: skip
    """Make an object, or give the one that the same Idempotency-Key made before; and whether it is new.

    Raises:
        ApiError: the key was used for another request, or what it made is deleted.
    """
    if header is None:
        with service.database.writing() as session:
            return make(session), True
    key = hashlib.sha256(f"{route}\n{header}".encode()).hexdigest()
    content = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    try:
        with service.database.writing() as session:
            if before := _made_before(session, caller, key, content, table):
                return before, False
            row = make(session)
            session.flush()
            made: Any = row
            session.add(Repeat(owner=caller.id, idempotency_key=key, asked=content, made=made.id, created_at=now()))
            return row, True
    except IntegrityError:  # the same request came twice at once, and the other one was first
        with service.database.reading() as session:
            if before := _made_before(session, caller, key, content, table):
                return before, False
        raise


def _made_before(session: Session, caller: Caller, key: str, content: str, table: type[Row]) -> Row | None:
    repeat = session.scalar(select(Repeat).where(Repeat.owner == caller.id, Repeat.idempotency_key == key))
    if repeat is None:
        return None
    if repeat.asked != content:
        raise ApiError(409, "This Idempotency-Key was used for another request.", "idempotency_key_reused")
    query: Select[Any] = select(table).where(table.id == repeat.made)  # type: ignore[attr-defined]
    row: Row | None = session.scalar(query)
    if row is None:
        raise ApiError(409, "What this Idempotency-Key made was deleted since.", "idempotency_key_reused")
    return row


def jobs_that_use(session: Session, file: File, states: Sequence[str]) -> list[str]:
    """Ids of jobs in these states that read a file."""
    reads = (Job.training_file == file.id) | (Job.validation_file == file.id)
    return list(session.scalars(select(Job.id).where(reads, Job.status.in_(states)).limit(5)))
