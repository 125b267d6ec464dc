"""What workers write about jobs: who has one, how far it is, and how it ended.

A job is claimed with a lease. The worker that has it moves the lease on; if it dies, the lease runs out and another
worker goes on. Each claim has a number (`attempt`). Every write names the attempt that it is of, in the transaction
that changes the job: a worker that has lost its job without knowing can change nothing. So a job ends exactly once.

PostgreSQL locks the row (SELECT … FOR UPDATE SKIP LOCKED); SQLite has one writer at a time (BEGIN IMMEDIATE).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, or_, select

from holdfast.service import jobs
from holdfast.service.database import CLAIMABLE, ENDED, Database, Event, Job, JobCheckpoint, Model, new_id, now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Ending = Literal["succeeded", "failed", "cancelled"]


DIED = "died-"
"""What the marks of events begin with that tell of a worker's death."""


class LostError(Exception):
    """The job is not this worker's any more: its lease ran out, or it ended."""


@dataclass(frozen=True)
class Claim:
    """A job that a worker has."""

    job: Job
    """As it was when it was claimed."""
    attempt: int
    worker: str
    deaths: int = 0
    """Workers that had the job before and did not leave it in order."""


@dataclass(frozen=True)
class Happening:
    """An event to be written, unless the job has one with its mark; see `jobs.note`."""

    mark: str
    message: str
    level: jobs.Level = "info"
    kind: Literal["message", "metrics"] = "message"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """The model after an epoch."""

    step: int
    folder: str
    """Relative to the service's folder."""
    metrics: Mapping[str, Any]
    is_last: bool


def claim(database: Database, worker: str, lease: float) -> Claim | None:
    """The oldest job that waits for a worker, or whose worker is dead; None if there is none.

    Args:
        database: the service's.
        worker: the name of whoever claims it.
        lease: seconds without a heartbeat after which another worker may claim it.
    """
    moment = time.time()
    free = or_(Job.lease_until.is_(None), Job.lease_until < moment)
    with database.writing() as session:
        job = session.scalar(
            select(Job).where(Job.status.in_(CLAIMABLE), free).order_by(Job.number).limit(1)
            .with_for_update(skip_locked=True)
        )  # fmt: skip
        if job is None:
            return None
        if job.worker:
            jobs.note(session, job, f"{DIED}{job.attempt}", "The worker died. Another one goes on.", "warn")
        job.worker, job.lease_until, job.attempt = worker, moment + lease, job.attempt + 1
        job.status, job.started_at = "running", job.started_at or now()
        died = select(func.count()).where(Event.job_id == job.id, Event.mark.startswith(DIED))
        return Claim(job, job.attempt, worker, session.scalar(died) or 0)


def beat(database: Database, claimed: Claim, lease: float) -> str:
    """Keep the job for longer; returns what its owner wants: `run`, `pause` or `cancel`.

    Raises:
        LostError: another worker has it, or it ended.
    """
    with database.writing() as session:
        job = _mine(session, claimed)
        job.lease_until = time.time() + lease
        return job.wanted


def tell(
    database: Database, claimed: Claim, happenings: Sequence[Happening], changes: Mapping[str, Any] | None = None
) -> None:
    """Write events, and change fields of the job. What was written before is not written again.

    Raises:
        LostError: as `beat`.
    """
    with database.writing() as session:
        job = _mine(session, claimed)
        for name, value in (changes or {}).items():
            setattr(job, name, value)
        for each in happenings:
            jobs.note(session, job, each.mark, each.message, each.level, dict(each.data), each.kind)


def keep_models(database: Database, claimed: Claim, made: Sequence[Made]) -> list[Model]:
    """Write down the models that a job made, in their order; they are held until it is decided.

    Raises:
        LostError: as `beat`.
    """
    with database.writing() as session:
        job = _mine(session, claimed)
        models = []
        for each in made:
            name = name_of(job, None if each.is_last else each.step)
            model = session.scalar(select(Model).where(Model.id == name))
            if model is None:
                model = Model(
                    id=name, owner=job.owner, base=job.model, job_id=job.id, folder=each.folder, created_at=now(),
                    state="held", decision={}, released_by=None, released_why=None, deleted_at=None,
                )  # fmt: skip
                session.add(model)
                session.add(
                    JobCheckpoint(
                        id=new_id("ftckpt_"), job_id=job.id, step=each.step, model=name, metrics=dict(each.metrics),
                        created_at=now(),
                    )
                )  # fmt: skip
            models.append(model)
        return models


def decide(database: Database, claimed: Claim, model: str, passes: bool, decision: Mapping[str, Any]) -> None:
    """Write down what was decided about a model. It can be asked once its job has succeeded.

    Raises:
        LostError: as `beat`.
    """
    with database.writing() as session:
        job = _mine(session, claimed)
        row = session.scalars(select(Model).where(Model.id == model, Model.job_id == job.id)).one()
        row.decision = {**decision, "passes": passes}


def leave(database: Database, claimed: Claim, status: Literal["paused", "queued"]) -> None:
    """Leave a job for later: until its owner resumes it, or for another worker.

    Raises:
        LostError: as `beat`.
    """
    with database.writing() as session:
        job = _mine(session, claimed)
        if status == "paused":
            jobs.set_paused(session, job)
            return
        job.status, job.worker, job.lease_until = "queued", None, None
        jobs.note(session, job, f"left-{claimed.attempt}", "The worker ends. Another one goes on.")


def finish(
    database: Database, claimed: Claim, ending: Ending, error: Mapping[str, Any] | None = None,
    decision: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """End a job, with all that follows from it: in one transaction, once.

    A job that succeeded releases those of its models that passed; one that failed or was cancelled refuses them all.

    Raises:
        LostError: as `beat`.
    """
    with database.writing() as session:
        job = _mine(session, claimed)
        job.decision = dict(decision or {})
        for model in session.scalars(select(Model).where(Model.job_id == job.id, Model.state == "held")):
            released = ending == "succeeded" and bool(model.decision.get("passes"))
            model.state = "released" if released else "refused"
        if ending == "succeeded":
            job.fine_tuned_model = name_of(job)
        jobs.end(session, job, ending, dict(error or {}))


def name_of(job: Job, step: int | None = None) -> str:
    """The name of a job's model, or of its checkpoint after a step; the same whenever it is asked for."""
    random = hashlib.sha256(job.id.encode()).hexdigest()[:8]
    name = f"ft:{job.model}:{job.owner.removeprefix('key-')[:8]}:{job.suffix or ''}:{random}"
    return name if step is None else f"{name}:ckpt-step-{step}"


def _mine(session: Session, claimed: Claim) -> Job:
    """The job, locked.

    Raises:
        LostError: it is not the claim's.
    """
    job = session.scalar(select(Job).where(Job.id == claimed.job.id).with_for_update())
    if job is None or job.attempt != claimed.attempt or job.worker != claimed.worker or job.status in ENDED:
        raise LostError(f"job {claimed.job.id} is not {claimed.worker}'s any more")
    return job
