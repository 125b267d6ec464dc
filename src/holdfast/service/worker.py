"""`holdfast serve worker`: claims jobs from the database and does them, one at a time. Several workers may run.

What comes from outside is the database alone; a worker that is killed at any moment leaves a job that another one, or
itself once it is started again, goes on with.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from holdfast.service import job_work, ledger
from holdfast.service.job_work import Desk, JobError, StopError
from holdfast.service.ledger import Claim, LostError
from holdfast.service.logs import log

if TYPE_CHECKING:
    from holdfast.service.database import Database
    from holdfast.service.policy import ServicePolicy
    from holdfast.service.store import FileStore

LEASE = 30.0
"""Seconds without a heartbeat after which another worker goes on with a job."""
MOST_DEATHS = 5
"""Workers that may die while they have a job. One that ends each of them (as for want of memory) fails then."""
IDLE = 1.0
"""Seconds between two looks for a job."""


@dataclass
class Worker:
    """One process that tunes."""

    database: Database
    store: FileStore
    folder: Path
    policy: ServicePolicy
    lease: float = LEASE
    idle: float = IDLE
    most_deaths: int = MOST_DEATHS
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}"[:128])
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set it, and the worker leaves its job to others and ends."""

    def run(self) -> None:
        """Work until `stopping` is set. An error of the database is waited out."""
        while not self.stopping.is_set():
            try:
                worked = self.once()
            except SQLAlchemyError as error:
                log("the database cannot be used", logging.WARNING, error, worker=self.name)
                worked = False
            if not worked:
                self.stopping.wait(self.idle)

    def once(self) -> bool:
        """Do one job, if one waits; returns whether there was one."""
        claimed = ledger.claim(self.database, self.name, self.lease)
        if claimed is None:
            return False
        log("job begins", job=claimed.job.id, attempt=claimed.attempt, worker=self.name)
        with _Heart(self, claimed) as heart:
            desk = Desk(self.database, self.store, self.folder, self.policy, claimed, heart.asked)
            try:
                self._do(desk)
            except LostError:
                log("job was cancelled, or is another worker's now", logging.WARNING, job=claimed.job.id)
                job_work.discard(desk)
        return True

    def _do(self, desk: Desk) -> None:
        """Do a job; however it goes, it is written down.

        Raises:
            LostError: it is not this worker's any more.
        """
        try:
            if desk.claimed.deaths >= self.most_deaths:
                raise JobError("server_error", f"{desk.claimed.deaths} workers died while they had the job.")
            if desk.job.model not in desk.policy.bases:
                raise JobError("model_not_found", f"This service has no base {desk.job.model!r} any more.", "model")
            job_work.do(desk)
            log("job succeeded", job=desk.job.id)
        except StopError as error:
            self._leave(desk, str(error))
        except JobError as error:
            self._fail(desk, error)
        except (LostError, SQLAlchemyError):
            raise
        except Exception as error:  # a bug must not end the worker, nor leave a job that nobody ends
            log("an error of ours", logging.ERROR, error, job=desk.job.id)
            self._fail(desk, JobError("server_error", "The job failed for a reason that is this service's own."))

    def _leave(self, desk: Desk, how: str) -> None:
        """End a job that its owner cancelled, or leave it for later."""
        log("job is left", job=desk.job.id, how=how)
        desk.flush()
        if how == "cancel":
            ledger.finish(self.database, desk.claimed, "cancelled")
            job_work.discard(desk)
        else:
            ledger.leave(self.database, desk.claimed, "paused" if how == "pause" else "queued")

    def _fail(self, desk: Desk, error: JobError) -> None:
        log("job failed", job=desk.job.id, code=error.code)
        desk.flush()
        told = {"code": error.code, "message": str(error), "param": error.param}
        ledger.finish(self.database, desk.claimed, "failed", told, error.decision)


class _Heart:
    """Keeps a job while it is worked on, in a thread of its own, and hears what its owner wants."""

    def __init__(self, worker: Worker, claimed: Claim) -> None:
        self.worker, self.claimed = worker, claimed
        self.wanted = claimed.job.wanted
        self.until = time.monotonic() + worker.lease
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="holdfast-heart", daemon=True)

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def asked(self) -> str:
        """What is to become of the job."""
        if self.wanted == "lost" or time.monotonic() > self.until:
            return "lost"
        return "stop" if self.worker.stopping.is_set() else self.wanted

    def _beat(self) -> None:
        while not self._ended.wait(min(1.0, self.worker.lease / 4)):
            began = time.monotonic()
            try:
                self.wanted = ledger.beat(self.worker.database, self.claimed, self.worker.lease)
                self.until = began + self.worker.lease
            except LostError:
                self.wanted = "lost"
                return
            except SQLAlchemyError:  # it is tried again until the lease has run out
                log("a heartbeat failed", logging.WARNING, job=self.claimed.job.id)
