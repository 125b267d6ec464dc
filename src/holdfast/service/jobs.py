"""What may happen to a job, for the API and for workers: each change of state, and the event that tells of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select, update

from holdfast.service.database import ENDED, Event, Job, Model, new_id, now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Level = Literal["info", "warn", "error"]


def note(
    session: Session, job: Job, mark: str, message: str, level: Level = "info", data: dict[str, Any] | None = None,
    kind: Literal["message", "metrics"] = "message",
) -> None:  # fmt: skip
    """Add an event, unless the job has one with this mark.

    Args:
        session: a writing session.
        job: the job.
        mark: what tells the event from the job's others, e.g. `step-12`.
        message: one sentence.
        level: how grave it is.
        data: figures, as OpenAI's: `step`, `train_loss` and so on.
        kind: `metrics` for figures of a step.
    """
    if session.scalar(select(Event.number).where(Event.job_id == job.id, Event.mark == mark)) is None:
        session.add(Event(id=new_id("ftevent-"), job_id=job.id, mark=mark, created_at=now(), level=level, type=kind,
                          message=message, data=data or {}))  # fmt: skip


def is_held(job: Job) -> bool:
    """Whether a worker has the job, and its lease has not run out."""
    return job.worker is not None and job.lease_until is not None and job.lease_until > time.time()


def end(
    session: Session, job: Job, status: Literal["succeeded", "failed", "cancelled"],
    error: dict[str, Any] | None = None,
) -> bool:  # fmt: skip
    """End a job, once: False, and nothing changes, where it has ended already. The row must be locked."""
    if job.status in ENDED:
        return False
    job.status, job.finished_at, job.error = status, now(), error or {}
    job.worker = job.lease_until = job.estimated_finish = None
    if status == "succeeded":
        note(session, job, "ended", "The job has successfully completed")
    elif status == "cancelled":
        note(session, job, "ended", "The job was cancelled", "warn")
        held = (Model.job_id == job.id, Model.state == "held")
        session.execute(update(Model).where(*held).values(state="refused"))
    else:
        note(session, job, "ended", f"The job failed: {job.error.get('message', '')}", "error", job.error)
    return True


def set_paused(session: Session, job: Job) -> None:
    """Set a job aside until its owner resumes it."""
    job.status, job.worker, job.lease_until = "paused", None, None
    note(session, job, f"paused-{job.attempt}-{time.time_ns()}", "The job is paused")


def set_queued(session: Session, job: Job) -> None:
    """Have a worker take the job again."""
    job.status = "queued"
    note(session, job, f"resumed-{job.attempt}-{time.time_ns()}", "The job is resumed")


def release(session: Session, model: Model, operator: str, reason: str) -> None:
    """Release a model by hand, recorded with who did so and why. Its job stays as it ended, and names the model now."""
    model.state, model.released_by, model.released_why = "released", operator, reason
    job = session.scalar(select(Job).where(Job.id == model.job_id).with_for_update())
    if job is None:
        return
    job.fine_tuned_model = job.fine_tuned_model or model.id
    data = {"operator": operator, "reason": reason, "model": model.id}
    note(session, job, f"released-{model.number}", f"An operator released {model.id} by hand: {reason}", "warn", data)
