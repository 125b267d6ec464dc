"""A service's database and files without its server: jobs are put there as its API does, and workers do them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import select

from holdfast.service.database import Event, Job, Key, Model, connect, new_id, now
from holdfast.service.policy import policy_of
from holdfast.service.store import FileStore

QUICK = {"pocket": {"model": "pocket:aligned", "tune": {"learning_rate": 6e-5, "batch_size": 10, "epochs": 2}}}
"""Bases of a policy whose jobs take seconds."""

START = """
import json, signal, sys
from pathlib import Path
from support.service_jobs import Workplace
from holdfast.core.workers import quiet
from holdfast.service.logs import write_json_logs
from holdfast.service.worker import Worker

quiet()
write_json_logs()
url, folder, policy, settings = map(json.loads, sys.argv[1:])
place = Workplace(Path(folder), policy, url)
worker = Worker(place.database, place.store, place.folder, place.policy, **settings)
signal.signal(signal.SIGTERM, lambda *_: worker.stopping.set())
worker.run()
"""


class Workplace:
    """A service's folder and database."""

    def __init__(self, folder, policy, url=None):
        self.folder, self.settings = Path(folder), policy
        self.folder.mkdir(parents=True, exist_ok=True)
        self.url = url or f"sqlite:///{self.folder}/service.db"
        self.database = connect(self.url)
        self.database.migrate()
        self.store = FileStore(str(self.folder / "files"), self.folder / "spool")
        self.policy = policy_of(policy)

    def key(self):
        """The id of a new key."""
        key = Key(
            id=new_id("key-"), name="t", digest=new_id("")[:24] * 2, scopes=["tune"], created_at=now(), revoked_at=None
        )
        with self.database.writing() as session:
            session.add(key)
        return key.id

    def upload(self, rows):
        """The id of a file of training rows, or of bytes."""
        name = new_id("file-")
        content = rows if isinstance(rows, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        with self.store.spooled() as path:
            path.write_bytes(content)
            self.store.keep(path, name)
        return name

    def job(self, rows, model="pocket", seed=0, faults=None, **hyperparameters):
        """The id of a new job."""
        job = Job(
            id=new_id("ftjob-"), owner=self.key(), status="queued", wanted="run", model=model, seed=seed,
            training_file=rows if isinstance(rows, str) else self.upload(rows), validation_file=None,
            hyperparameters=hyperparameters, suffix=None, meta={}, faults=faults or {}, created_at=now(), decision={},
            error={}, attempt=0, worker=None, lease_until=None, started_at=None, finished_at=None,
            estimated_finish=None, trained_tokens=None, fine_tuned_model=None,
        )  # fmt: skip
        with self.database.writing() as session:
            session.add(job)
        return job.id

    def read(self, job_id):
        with self.database.reading() as session:
            return session.scalars(select(Job).where(Job.id == job_id)).one()

    def set(self, job_id, **changes):
        with self.database.writing() as session:
            job = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one()
            for name, value in changes.items():
                setattr(job, name, value)

    def events(self, job_id):
        with self.database.reading() as session:
            return list(session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.number)))

    def models(self, job_id):
        with self.database.reading() as session:
            return list(session.scalars(select(Model).where(Model.job_id == job_id).order_by(Model.number)))

    def start(self, **settings):
        """A worker in a process of its own; the caller ends it."""
        tests = Path(__file__).parents[1]
        given = [json.dumps(each) for each in (self.url, str(self.folder), self.settings, settings)]
        path = os.pathsep.join([str(tests), str(tests.parent / "src"), os.environ.get("PYTHONPATH", "")])
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", START, *given], stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def close(self):
        self.database.close()


def kill(process):
    """End a worker as a crash does."""
    process.send_signal(signal.SIGKILL)
    process.wait()
