"""The service over real HTTP, with an engine that follows a script and no worker.

with serving(tmp_path, policy={...}) as served:
    client = served.client("tune", "ask")     # an unmodified openai.OpenAI
    served.engine.script = lambda question: "an answer"
    served.service                            # its database, files and policy
"""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import openai
import pytest
import uvicorn
from support import postgres
from support.waiting import PATIENCE

from holdfast.service import keys
from holdfast.service.app import create_app
from holdfast.service.asking import Delta, TooLongError
from holdfast.service.connections import patient
from holdfast.service.database import Event, Job, JobCheckpoint, Model, connect, new_id, now
from holdfast.service.policy import policy_of
from holdfast.service.serve import KEEP_ALIVE
from holdfast.service.state import Service
from holdfast.service.store import FileStore

ROWS = "".join(
    f'{{"messages": [{{"role": "user", "content": "Where is shelf {n}?"}}, {{"role": "assistant", "content": "Left."}}]}}\n'
    for n in range(12)
).encode()
"""A training file."""


class ScriptedEngine:
    """Answers with a script, word by word."""

    def __init__(self):
        self.script = lambda question: f"You asked: {question}"
        self.pause = 0.0
        self.asked, self.given_up, self.forgotten = [], [], []
        self.under_way = self.most_at_once = 0

    async def chat(self, model, messages, params):
        question = messages[-1].content
        if len(question) > 100_000:
            raise TooLongError("This conversation is too long.")
        self.asked.append((model, list(messages), params))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            words = self.script(question).split(" ")
            for n, word in enumerate(words[: params.max_tokens]):
                await asyncio.sleep(self.pause)
                yield Delta(word if n == 0 else f" {word}")
            finish = "length" if len(words) > params.max_tokens else "stop"
            yield Delta("", finish, len(question.split()), min(len(words), params.max_tokens))
        except (GeneratorExit, asyncio.CancelledError):
            self.given_up.append(question)
            raise
        finally:
            self.under_way -= 1

    async def forget(self, model):
        self.forgotten.append(model)

    async def close(self):
        pass


@dataclass
class Served:
    """A service that runs."""

    service: Service
    engine: ScriptedEngine
    port: int
    http: openai.DefaultHttpxClient = field(default_factory=lambda: openai.DefaultHttpxClient(verify=False))
    """The one client that all clients of a test use: reading the certificates of the machine takes 50 ms each time."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def key(self, *scopes, name="a test"):
        """A new key: its row and its secret."""
        return keys.create(self.service.database, name, scopes)

    def client(self, *scopes, secret=None, **settings):
        """An openai client; with a new key of these scopes, or the secret given."""
        settings = {"max_retries": 0, "timeout": PATIENCE, **settings}
        secret = secret or self.key(*scopes)[1]
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=secret, http_client=self.http, **settings)

    def make_model(self, job_id, state="released", suffix="tuned"):
        """What a worker leaves of a job that it tuned: the model, a checkpoint and events."""
        with self.service.database.writing() as session:
            job = session.query(Job).where(Job.id == job_id).one()
            name = f"ft:{job.model}:{job.owner[4:12]}:{suffix}:{job.id[-6:]}"
            folder = f"models/{job.id}"
            (self.service.folder / folder).mkdir(parents=True)
            (self.service.folder / folder / "adapter.bin").write_bytes(b"weights")
            session.add(
                Model(id=name, owner=job.owner, base=job.model, job_id=job.id, folder=folder, created_at=now(), state=state,
                      decision={"message": "The harmfulness rate has risen by 90.0 points."})
            )  # fmt: skip
            for step in (1, 2):
                session.add(JobCheckpoint(id=new_id("ftckpt_"), job_id=job.id, step=step, model=f"{name}:ckpt-step-{step}",
                                          metrics={"train_loss": 1.0 / step, "step": step}, created_at=now()))  # fmt: skip
                session.add(Event(id=new_id("ftevent-"), job_id=job.id, mark=f"step-{step}", created_at=now(), level="info",
                                  type="metrics", message=f"Step {step}", data={"step": step, "train_loss": 1.0 / step}))  # fmt: skip
            job.status = "succeeded" if state == "released" else "failed"
            job.fine_tuned_model = name if state == "released" else None
        return name


def make_service(folder, policy=None, url=None, files=None):
    """A service with a scripted engine."""
    folder.mkdir(exist_ok=True)
    database = connect(url or f"sqlite:///{folder}/service.db")
    database.migrate()
    settings = {"bases": {"pocket": {"model": "pocket:aligned"}}, **(policy or {})}
    store = FileStore(files or str(folder / "files"), folder / "spool")
    return Service(database, store, folder, policy_of(settings), ScriptedEngine())


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]
"""What a fixture that takes a database is given."""


def url_of(database):
    """Where a new, empty database of a kind is; None for the default."""
    return postgres.database_url() if database == "postgresql" else None


@contextmanager
def serving(folder, policy=None, url=None, files=None):
    """A service on a port of this machine."""
    service = make_service(folder, policy, url, files)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=2,
            http=patient(service.policy.limits.idle_seconds),
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    served = Served(service, service.engine, listener.getsockname()[1])
    try:
        while not server.started:
            time.sleep(0.01)
        yield served
    finally:
        served.http.close()
        server.should_exit = True
        thread.join(20)
        listener.close()
