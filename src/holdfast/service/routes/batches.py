"""Batches: made, listed, read and cancelled. `batches.py` answers them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from holdfast.service.batches import WINDOW
from holdfast.service.database import BATCH_ENDED, Batch, File, new_id, now
from holdfast.service.errors import ApiError
from holdfast.service.keys import Caller
from holdfast.service.routes.common import (
    After,
    Here,
    IdempotencyKey,
    Limit,
    errors,
    once,
    one,
    page,
    visible,
    with_scope,
)
from holdfast.service.shapes import BatchObject, BatchProblem, BatchProblems, Counts, Id, NewBatch, Page

router = APIRouter(prefix="/v1/batches", tags=["Batches"])

Asker = Annotated[Caller, with_scope("ask")]
Reader = Annotated[Caller, with_scope("ask", "operate")]


def shape(batch: Batch) -> BatchObject:
    """A batch as it is answered."""
    problems = [BatchProblem.model_validate(problem) for problem in batch.errors]
    return BatchObject(
        id=batch.id, endpoint=batch.endpoint, errors=BatchProblems(data=problems) if problems else None,
        input_file_id=batch.input_file_id, completion_window=batch.completion_window,
        status=batch.status,
        output_file_id=batch.output_file_id, error_file_id=batch.error_file_id, created_at=batch.created_at,
        expires_at=batch.created_at + WINDOW, request_counts=Counts.model_validate(batch.counts), metadata=batch.meta,
        **batch.times,
    )  # fmt: skip


@router.post("", responses=errors(409))
def create(asked: NewBatch, service: Here, caller: Asker, idempotency_key: IdempotencyKey = None) -> BatchObject:
    """Make a batch. Its input is checked, and answered, afterwards."""

    def make(session: Session) -> Batch:
        mine = select(File).where(File.id == asked.input_file_id, File.owner == caller.id)
        file = session.scalar(mine.with_for_update(read=True))
        if file is None or file.purpose != "batch":
            message = f"There is no file {asked.input_file_id[:100]!r} of this key whose purpose is batch."
            raise ApiError(400, message, "invalid_value", "input_file_id")
        is_open = select(func.count()).where(Batch.owner == caller.id, Batch.status.not_in(BATCH_ENDED))
        if (session.scalar(is_open) or 0) >= service.policy.limits.open_batches:
            most = service.policy.limits.open_batches
            raise ApiError(429, f"This key has {most} batches that have not ended. Wait for one.", "too_many_batches",
                           retry_after=30)  # fmt: skip
        batch = Batch(
            id=new_id("batch_"), owner=caller.id, status="validating", endpoint=asked.endpoint,
            input_file_id=asked.input_file_id, completion_window=asked.completion_window, meta=asked.metadata or {},
            created_at=now(), attempt=0, times={}, counts={}, errors=[],
        )  # fmt: skip
        session.add(batch)
        return batch

    content = asked.model_dump(mode="json")
    return shape(once(service, caller, "batches", idempotency_key, content, Batch, make)[0])


@router.get("", responses=errors())
def list_batches(service: Here, caller: Reader, after: After = None, limit: Limit = 20) -> Page[BatchObject]:
    """List batches, the newest first."""
    with service.database.reading() as session:
        return page(session, visible(select(Batch), Batch, caller), Batch, after, limit, shape)


@router.get("/{batch_id}", responses=errors(404))
def retrieve(service: Here, caller: Reader, batch_id: Id) -> BatchObject:
    """One batch."""
    with service.database.reading() as session:
        return shape(one(session, Batch, "batch", batch_id, caller))


@router.post("/{batch_id}/cancel", responses=errors(404, 409))
def cancel(service: Here, caller: Reader, batch_id: Id) -> BatchObject:
    """Cancel a batch. What is answered already is in its output file."""
    with service.database.writing() as session:
        batch = one(session, Batch, "batch", batch_id, caller, lock=True)
        if batch.status in BATCH_ENDED:
            raise ApiError(409, f"The batch has ended: {batch.status}.", "invalid_state")
        if batch.status != "cancelling":
            batch.status = "cancelling"
            batch.times = {**batch.times, "cancelling_at": now()}
        return shape(batch)
