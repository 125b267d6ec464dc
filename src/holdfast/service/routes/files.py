"""Files: uploaded as they come, listed, read and deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from holdfast.service.database import Batch, File, new_id, now
from holdfast.service.errors import ApiError, missing
from holdfast.service.gateway import FAULT_HEADER, drain, headers_of
from holdfast.service.keys import Caller
from holdfast.service.routes.common import (
    After,
    Here,
    IdempotencyKey,
    errors,
    jobs_that_use,
    once,
    one,
    page,
    visible,
    with_scope,
)
from holdfast.service.shapes import Deleted, FileId, FileObject, Page
from holdfast.service.state import Service
from holdfast.service.upload import OVERHEAD, Form, receive_form, too_large

router = APIRouter(prefix="/v1/files", tags=["Files"])

Uploader = Annotated[Caller, with_scope("tune", "ask")]
Reader = Annotated[Caller, with_scope("tune", "ask", "operate")]

SCOPE_OF = {"fine-tune": "tune", "batch": "ask"}
"""Purpose of a file → the scope that its upload needs."""

QUICK = ("rows",)
"""Kinds of checks that are done while the upload is answered."""

MOST_LISTED = 500
"""Files of one page of a list, however many are asked for: a page is made and kept in memory whole."""

MODERATED = "This training file was blocked by the moderation system: too many of its rows go against the usage policy."

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(SCOPE_OF)},
                    },
                }
            }
        },
    }
}


def shape(file: File) -> FileObject:
    """A file as it is answered."""
    return FileObject.model_validate(file, from_attributes=True)


@router.post("", responses=errors(409), openapi_extra=FORM)
async def upload(
    request: Request, service: Here, caller: Uploader, idempotency_key: IdempotencyKey = None
) -> FileObject:
    """Upload a file of JSON Lines. Its content is written to disk as it comes."""
    limits = service.policy.limits
    headers = headers_of(request.scope)
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limits.file_bytes + OVERHEAD:
        await drain(request.receive, headers)
        raise too_large(limits)
    most, mine = limits.concurrent_uploads, service.uploads[caller.id]
    if service.uploads.total() >= most or mine >= max(1, most // 2):  # no key keeps the others from uploading
        raise ApiError(429, "Too many uploads are under way. Try again.", "busy", retry_after=2)
    service.uploads[caller.id] += 1
    try:
        with service.store.spooled() as spool:
            try:
                form = await receive_form(request.stream(), headers.get("content-type", ""), spool, limits)
            except ApiError as error:
                if error.status != 408:
                    await drain(request.receive, headers)
                raise
            faulty = service.policy.test_faults.by_header and headers.get(FAULT_HEADER) == "moderate"
            async with service.checks:
                return await run_in_threadpool(_keep, service, caller, form, spool, idempotency_key, faulty)
    finally:
        service.uploads[caller.id] -= 1
        service.uploads += Counter()  # forget whoever has none


def _keep(
    service: Service, caller: Caller, form: Form, spool: Path, idempotency_key: str | None, faulty: bool
) -> FileObject:
    purpose = form.fields.get("purpose", "")
    if not form.has_file:
        raise ApiError(400, "The form has no field `file`.", "missing_field", "file")
    if purpose not in SCOPE_OF:
        raise ApiError(400, f"`purpose` is one of {', '.join(SCOPE_OF)}.", "invalid_value", "purpose")
    if SCOPE_OF[purpose] not in caller.scopes:
        raise ApiError(403, f"This needs a key with the scope `{SCOPE_OF[purpose]}`.", "missing_scope")
    if not form.size:
        raise ApiError(400, "The file is empty.", "invalid_file", "file")
    problem = _problem(service, spool, faulty) if purpose == "fine-tune" else None
    file = File(
        id=new_id("file-"), owner=caller.id, filename=form.filename, purpose=purpose, bytes=form.size,
        sha256=form.sha256, created_at=now(), status="error" if problem else "processed",
        status_details=problem,
    )  # fmt: skip

    def make(session: Session) -> File:
        kept = session.scalar(select(func.coalesce(func.sum(File.bytes), 0)).where(File.owner == caller.id)) or 0
        if kept + form.size > service.policy.limits.total_bytes:
            raise ApiError(413, f"This key's files would have more than {service.policy.limits.total_bytes:,} bytes "
                           "in all. Delete some.", "storage_full", "file")  # fmt: skip
        service.store.keep(spool, file.id)  # before its row: a row never points at nothing
        session.add(file)
        return file

    asked, is_new = [form.filename, purpose, form.sha256], False
    try:
        made, is_new = once(service, caller, "files", idempotency_key, asked, File, make)
    finally:
        if not is_new:
            service.store.delete(file.id)
    service.metrics.uploaded.inc(form.size if is_new else 0)
    return shape(made)


def _problem(service: Service, spool: Path, faulty: bool) -> str | None:
    """What is wrong with a training file, as far as it can be told at once; a job's worker does the other checks."""
    if faulty or service.policy.test_faults.moderate_uploads:
        return MODERATED
    refusals = (check.check(spool) for check in service.policy.after_upload if check.kind in QUICK)
    return next((refusal.message for refusal in refusals if refusal), None)


@router.get("", responses=errors())
def list_files(
    service: Here, caller: Reader, after: After = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc", purpose: Annotated[str | None, Query(max_length=32)] = None,
) -> Page[FileObject]:  # fmt: skip
    """List files."""
    query = visible(select(File), File, caller)
    if purpose is not None:
        query = query.where(File.purpose == purpose.replace("\x00", "?"))
    with service.database.reading() as session:
        return page(session, query, File, after, min(limit, MOST_LISTED), shape, newest_first=order == "desc")


@router.get("/{file_id}", responses=errors(404))
def retrieve(service: Here, caller: Reader, file_id: FileId) -> FileObject:
    """One file."""
    with service.database.reading() as session:
        return shape(one(session, File, "file", file_id, caller))


CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The content.", "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
}


@router.get("/{file_id}/content", responses={**CONTENT, **errors(404)}, response_class=StreamingResponse)
def content(service: Here, caller: Reader, file_id: FileId) -> StreamingResponse:
    """A file's content."""
    with service.database.reading() as session:
        file = one(session, File, "file", file_id, caller)
    pieces = service.store.chunks(file.id)
    try:
        first = next(pieces, b"")
    except FileNotFoundError:
        raise missing("file", file_id) from None

    def rest() -> Iterator[bytes]:
        yield first
        yield from pieces

    headers = {"Content-Disposition": f'attachment; filename="{file.id}"', "Content-Length": str(file.bytes)}
    return StreamingResponse(rest(), media_type="application/octet-stream", headers=headers)


@router.delete("/{file_id}", responses=errors(404, 409))
def delete(service: Here, caller: Annotated[Caller, with_scope("tune", "ask", "operate")], file_id: FileId) -> Deleted:
    """Delete a file. One that a job or batch still needs is kept."""
    with service.database.writing() as session:
        file = one(session, File, "file", file_id, caller, lock=True)
        used = jobs_that_use(session, file, ("validating_files", "queued", "running", "paused"))
        reading = Batch.status.in_(("validating", "in_progress", "finalizing", "cancelling"))
        used += session.scalars(select(Batch.id).where(Batch.input_file_id == file.id, reading).limit(5))
        if used:
            raise ApiError(409, f"{', '.join(used)} still needs the file. Cancel it first.", "file_in_use")
        session.delete(file)
    service.store.delete(file_id)
    return Deleted(id=file_id, object="file")
