"""Fine-tuning jobs: made, listed, cancelled, paused and resumed; their events and checkpoints."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from holdfast.core.files import did_you_mean
from holdfast.service import jobs
from holdfast.service.database import ENDED, Event, File, Job, JobCheckpoint, new_id, now
from holdfast.service.errors import ApiError
from holdfast.service.gateway import FAULT_HEADER
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
from holdfast.service.shapes import (
    CheckpointObject,
    EventObject,
    Hyperparameters,
    Id,
    JobError,
    JobObject,
    NewJob,
    Page,
)
from holdfast.service.state import Service

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["Fine-tuning"])

Tuner = Annotated[Caller, with_scope("tune")]
Reader = Annotated[Caller, with_scope("tune", "operate")]


def shape(job: Job) -> JobObject:
    """A job as it is answered."""
    return JobObject(
        id=job.id, created_at=job.created_at, error=JobError.model_validate(job.error) if job.error else None,
        fine_tuned_model=job.fine_tuned_model, finished_at=job.finished_at, hyperparameters=job.hyperparameters,
        model=job.model, organization_id=job.owner, seed=job.seed, status=job.status,
        trained_tokens=job.trained_tokens, training_file=job.training_file, validation_file=job.validation_file,
        estimated_finish=job.estimated_finish, metadata=job.meta, user_provided_suffix=job.suffix,
        method={"type": "supervised", "supervised": {"hyperparameters": job.hyperparameters}},
        decision=job.decision or None,
    )  # fmt: skip


def shape_event(event: Event) -> EventObject:
    """An event as it is answered."""
    return EventObject.model_validate(event, from_attributes=True)


def shape_checkpoint(checkpoint: JobCheckpoint) -> CheckpointObject:
    """A checkpoint as it is answered."""
    return CheckpointObject(
        id=checkpoint.id, created_at=checkpoint.created_at, fine_tuned_model_checkpoint=checkpoint.model,
        fine_tuning_job_id=checkpoint.job_id, metrics=checkpoint.metrics, step_number=checkpoint.step,
    )  # fmt: skip


@router.post("", responses=errors(404, 409))
def create(
    request: Request, asked: NewJob, service: Here, caller: Tuner, idempotency_key: IdempotencyKey = None
) -> JobObject:
    """Make a job. A worker checks its files, tunes, and has the tuned model checked before it is released."""
    _check_model(service, asked.model)
    faults = _faults(service, request)

    def make(session: Session) -> Job:
        training = _file(session, caller, asked.training_file, "training_file")
        if asked.validation_file is not None:
            _file(session, caller, asked.validation_file, "validation_file")
        open_jobs = select(func.count()).where(Job.owner == caller.id, Job.status.not_in(ENDED))
        if (session.scalar(open_jobs) or 0) >= service.policy.limits.open_jobs:
            most = service.policy.limits.open_jobs
            raise ApiError(429, f"This key has {most} jobs that have not ended. Wait for one.", "too_many_jobs",
                           retry_after=30)  # fmt: skip
        job = _new_job(asked, caller, faults)
        session.add(job)
        session.flush()
        jobs.note(session, job, "created", f"Created fine-tuning job: {job.id}")
        if training.status == "error":
            jobs.end(session, job, "failed", {
                "code": "invalid_training_file", "message": training.status_details or "", "param": "training_file",
            })  # fmt: skip
        return job

    content = asked.model_dump(mode="json")
    return shape(once(service, caller, "jobs", idempotency_key, content, Job, make)[0])


def _check_model(service: Service, name: str) -> None:
    base = service.policy.bases.get(name)
    if base is None:
        names = [known for known, of in service.policy.bases.items() if of.tunable]
        hint = did_you_mean(name[:100], names)
        raise ApiError(404, f"There is no base {name[:100]!r} to tune. Use one of {', '.join(names)}.{hint}",
                       "model_not_found", "model")  # fmt: skip
    if not base.tunable:
        raise ApiError(403, f"The model {name} can be asked, and not tuned.", "model_not_tunable", "model")


def _file(session: Session, caller: Caller, file_id: str, param: str) -> File:
    """A training file of the caller."""
    mine = select(File).where(File.id == file_id, File.owner == caller.id)
    file = session.scalar(mine.with_for_update(read=True))
    if file is None:
        raise ApiError(400, f"{param}: there is no file {file_id[:100]!r} of this key.", "invalid_value", param)
    if file.purpose != "fine-tune":
        raise ApiError(400, f"{param}: the file's purpose is {file.purpose}; it must be fine-tune.", "invalid_value",
                       param)  # fmt: skip
    return file


def _new_job(asked: NewJob, caller: Caller, faults: dict[str, Any]) -> Job:
    given = asked.hyperparameters or Hyperparameters()
    if asked.method:
        given = asked.method.supervised.hyperparameters
    return Job(
        id=new_id("ftjob-"), owner=caller.id, status="validating_files", wanted="run", model=asked.model,
        training_file=asked.training_file, validation_file=asked.validation_file,
        hyperparameters=given.model_dump(), suffix=asked.suffix,
        seed=secrets.randbelow(2**31) if asked.seed is None else asked.seed, meta=asked.metadata or {}, faults=faults,
        created_at=now(), attempt=0, error={}, decision={},
    )  # fmt: skip


def _faults(service: Service, request: Request) -> dict[str, Any]:
    """Faults on purpose that the worker is to make."""
    faults = service.policy.test_faults
    share = faults.fail_job_at
    ordered = request.headers.get(FAULT_HEADER, "") if faults.by_header else ""
    if ordered.startswith("fail-job="):
        try:
            share = min(1.0, max(0.0, float(ordered.removeprefix("fail-job="))))
        except ValueError:
            raise ApiError(400, "fail-job= takes a share from 0 to 1.", "invalid_value", FAULT_HEADER) from None
    return {} if share is None else {"fail_job_at": share}


@router.get("", responses=errors())
def list_jobs(
    request: Request, service: Here, caller: Reader, after: After = None, limit: Limit = 20,
) -> Page[JobObject]:  # fmt: skip
    """List jobs, the newest first. `metadata[key]=value` gives those that were made with it."""
    query = visible(select(Job), Job, caller)
    wanted = {
        name[9:-1]: value for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }  # fmt: skip
    if len(wanted) > 16 or any("\x00" in text for pair in wanted.items() for text in pair):
        raise ApiError(400, "metadata: at most 16 pairs of texts.", "invalid_value", "metadata")
    for key, value in wanted.items():
        query = query.where(Job.meta[key].as_string() == value)
    with service.database.reading() as session:
        return page(session, query, Job, after, limit, shape)


@router.get("/{job_id}", responses=errors(404))
def retrieve(service: Here, caller: Reader, job_id: Id) -> JobObject:
    """One job."""
    with service.database.reading() as session:
        return shape(one(session, Job, "fine-tuning job", job_id, caller))


@router.post("/{job_id}/cancel", responses=errors(404))
def cancel(service: Here, caller: Reader, job_id: Id) -> JobObject:
    """Cancel a job. Its worker stops at the next step; nothing of it is released."""
    with service.database.writing() as session:
        job = one(session, Job, "fine-tuning job", job_id, caller, lock=True)
        if job.status in ENDED:
            raise ApiError(400, f"The job has already {job.status}." if job.status != "cancelled" else
                           "The job is already cancelled.", "invalid_state")  # fmt: skip
        job.wanted = "cancel"
        jobs.end(session, job, "cancelled")
        return shape(job)


@router.post("/{job_id}/pause", responses=errors(404))
def pause(service: Here, caller: Reader, job_id: Id) -> JobObject:
    """Pause a job: at once where no worker has it, else at the worker's next step."""
    with service.database.writing() as session:
        job = one(session, Job, "fine-tuning job", job_id, caller, lock=True)
        if job.status in ENDED:
            raise ApiError(400, f"The job has ended: {job.status}.", "invalid_state")
        if job.status != "paused":
            job.wanted = "pause"
            if not jobs.is_held(job):
                jobs.set_paused(session, job)
        return shape(job)


@router.post("/{job_id}/resume", responses=errors(404))
def resume(service: Here, caller: Reader, job_id: Id) -> JobObject:
    """Resume a job that is paused, or is about to be."""
    with service.database.writing() as session:
        job = one(session, Job, "fine-tuning job", job_id, caller, lock=True)
        if job.status != "paused" and job.wanted != "pause":
            raise ApiError(400, f"The job is not paused: {job.status}.", "invalid_state")
        job.wanted = "run"
        if job.status == "paused":
            jobs.set_queued(session, job)
        return shape(job)


@router.get("/{job_id}/events", responses=errors(404))
def list_events(service: Here, caller: Reader, job_id: Id, after: After = None, limit: Limit = 20) -> Page[EventObject]:
    """What happened to a job, the newest first."""
    with service.database.reading() as session:
        job = one(session, Job, "fine-tuning job", job_id, caller)
        return page(session, select(Event).where(Event.job_id == job.id), Event, after, limit, shape_event)


@router.get("/{job_id}/checkpoints", responses=errors(404))
def list_checkpoints(
    service: Here, caller: Reader, job_id: Id, after: After = None, limit: Limit = 10
) -> Page[CheckpointObject]:
    """The models after a job's epochs, the newest first."""
    with service.database.reading() as session:
        job = one(session, Job, "fine-tuning job", job_id, caller)
        query = select(JobCheckpoint).where(JobCheckpoint.job_id == job.id)
        return page(session, query, JobCheckpoint, after, limit, shape_checkpoint)
