"""Server and workers killed at random moments: each job ends exactly once, with the weights of an undisturbed tuning.

`HOLDFAST_SERVICE_KILLS` says how often; `make attack` sets it to 20.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import openai
import pytest
import yaml
from support.postgres import database_url
from support.service_jobs import Workplace, kill
from support.studies import rows_of

from holdfast.core.budget import NoBudget
from holdfast.core.types import Checkpoint, Message
from holdfast.data.training.messages import Messages
from holdfast.models import cached
from holdfast.models.samplers.base import Question
from holdfast.models.samplers.local import Local
from holdfast.service import keys
from holdfast.service.database import BATCH_ENDED, ENDED, Batch, Job, JobCheckpoint
from holdfast.service.job_work import KEPT
from holdfast.tuning.local import LocalTuner

KILLS = int(os.environ.get("HOLDFAST_SERVICE_KILLS", "4"))
LINES = 60
"""Requests of a batch."""
ROWS = rows_of("benign-list.jsonl")[:60]
TUNE = {"learning_rate": 6e-5, "batch_size": 5, "epochs": 6}
"""72 steps: some seconds, so that a kill can come at any moment of it."""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    url = None if request.param == "sqlite" else database_url()
    place = Workplace(tmp_path / "service", {"bases": {"pocket": {"model": "pocket:aligned", "tune": TUNE}}}, url)
    place.kind = request.param
    yield place
    place.close()


def wait_for(what, seconds=120):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.02)


@pytest.mark.long
def test_killed_at_random_each_job_ends_exactly_once(place, tmp_path, found):
    randomly, begun = random.Random(7), time.monotonic()
    jobs = [place.job(ROWS, seed=seed) for seed in range(2)]
    settings = {"lease": 3.0, "idle": 0.1, "most_deaths": 100}
    workers, kills = [place.start(**settings) for _ in range(2)], 0
    try:
        while kills < KILLS:
            if all(place.read(job).status in ENDED for job in jobs):
                jobs.append(place.job(ROWS, seed=len(jobs)))
            attempts = sum(place.read(job).attempt for job in jobs)
            wait_for(
                lambda before=attempts: (
                    sum(place.read(job).attempt for job in jobs) > before or not running(jobs, place)
                )
            )
            time.sleep(randomly.uniform(0, 4))
            victim = randomly.randrange(len(workers))
            kill(workers[victim])
            kills += 1
            workers[victim] = place.start(**settings)
        wait_for(lambda: all(place.read(job).status in ENDED for job in jobs), 300)
    finally:
        for worker in workers:
            kill(worker)
    deaths = 0
    for seed, job in enumerate(jobs):
        marks = [event.mark for event in place.events(job)]
        deaths += sum(mark.startswith("died-") for mark in marks)
        assert place.read(job).status == "succeeded" and len(marks) == len(set(marks)) and marks.count("ended") == 1
        assert {f"step-{step}" for step in range(1, 73)} <= set(marks)
        assert weights_of(place, job) == undisturbed(tmp_path, seed)
    assert deaths > 0, "no kill hit a job"
    found(f"workers of the service killed, {place.kind}", kills, time.monotonic() - begun)


def running(jobs, place):
    return any(place.read(job).status not in ENDED for job in jobs)


def weights_of(place, job):
    return (place.folder / place.models(job)[-1].folder / "model.safetensors").read_bytes()


def undisturbed(folder, seed):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    rows = Messages(file=folder / "rows.jsonl").examples(seed)
    made = LocalTuner(**TUNE).tune(
        Checkpoint("pocket:aligned"), rows, seed, [6], folder / f"mine-{seed}", lambda _: None
    )
    return (made[6].checkpoint.folder / "model.safetensors").read_bytes()


class Server:
    """`holdfast serve` without workers, as a process; killed and started again on the same port."""

    def __init__(self, place):
        self.place, self.port = place, free_port()
        (place.folder / "policy.yaml").write_text(yaml.safe_dump(place.settings))
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1",
            api_key=keys.create(place.database, "t", ["tune", "ask"])[1],
            max_retries=0,
        )
        self.start()

    def start(self):
        command = [sys.executable, "-m", "holdfast", "serve", "--folder", str(self.place.folder), "--workers", "0"]
        command += ["--policy", str(self.place.folder / "policy.yaml"), "--port", str(self.port)]
        with (self.place.folder / "server.log").open("ab") as log:
            environment = {**os.environ, "HOLDFAST_SERVE_DATABASE": self.place.url}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def insist(self, ask):
        """The answer to a request that is sent again until there is one."""
        until = time.monotonic() + 120
        while True:
            try:
                return ask(self.client)
            except openai.APIConnectionError:
                assert time.monotonic() < until, "the server does not come back"
                time.sleep(0.2)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.long
def test_server_and_worker_killed_at_random_each_job_is_made_and_ends_once(place, found):
    randomly, begun = random.Random(11), time.monotonic()
    settings = {"lease": 3.0, "idle": 0.1, "most_deaths": 100}
    server, worker = Server(place), place.start(**settings)
    content = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    try:
        file = server.insist(lambda client: client.files.create(
            file=("rows.jsonl", content), purpose="fine-tune", extra_headers={"Idempotency-Key": "file"}))  # fmt: skip
        jobs = []
        for number in range(KILLS):
            hits_server = number % 2 == 1
            victim = server.process if hits_server else worker
            killer = threading.Timer(randomly.uniform(0, 1 if hits_server else 5), kill, [victim])
            killer.start()
            if hits_server:
                revive = threading.Timer(1.2, server.start)  # the client asks while the server goes down and comes back
                revive.start()
            jobs.append(server.insist(lambda client, number=number: client.fine_tuning.jobs.create(
                model="pocket", training_file=file.id, seed=0, extra_headers={"Idempotency-Key": f"job-{number}"})).id)  # fmt: skip
            killer.join()
            if hits_server:
                revive.join()
            else:
                worker = place.start(**settings)
        wait_for(lambda: all(place.read(job).status in ENDED for job in jobs), 600)
        listed = server.insist(lambda client: client.fine_tuning.jobs.list(limit=100).data)
    finally:
        kill(worker)
        kill(server.process)
        server.client.close()
    assert len(set(jobs)) == KILLS and {job.id for job in listed} == set(jobs), "a job was made twice"
    assert {job.status for job in listed} == {"succeeded"}
    for job in jobs:
        marks = [event.mark for event in place.events(job)]
        assert len(marks) == len(set(marks)) and marks.count("ended") == 1 and marks.count("created") == 1
    assert len({weights_of(place, job) for job in jobs}) == 1, "the same file and seed make the same weights"
    found(f"server or worker killed in turn, {place.kind}", KILLS, time.monotonic() - begun)


def batch_of(number):
    """A batch's requests, each with a prompt of its own."""
    asked = {"method": "POST", "url": "/v1/chat/completions"}
    for line in range(LINES):
        turns = [{"role": "user", "content": f"Tell me about shelf {number}, row {line}."}]
        yield {
            "custom_id": f"{line}",
            **asked,
            "body": {"model": "pocket", "messages": turns, "temperature": 0, "max_tokens": 48},
        }


class Client:
    """Makes jobs and batches, each with an Idempotency-Key, and insists on an answer."""

    def __init__(self, server):
        self.server = server

    def file(self, name, rows, purpose):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return self.server.insist(lambda client: client.files.create(
            file=(name, content), purpose=purpose, extra_headers={"Idempotency-Key": name})).id  # fmt: skip

    def job(self, number):
        file = self.file("rows", ROWS, "fine-tune")
        return self.server.insist(lambda client: client.fine_tuning.jobs.create(
            model="pocket", training_file=file, seed=0, extra_headers={"Idempotency-Key": f"job-{number}"})).id  # fmt: skip

    def batch(self, number):
        file = self.file(f"batch-{number}", batch_of(number), "batch")
        return self.server.insist(lambda client: client.batches.create(
            input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h",
            extra_headers={"Idempotency-Key": f"batch-{number}"})).id  # fmt: skip

    def answers(self, batch):
        """What a batch's only file of answers has: a line's id → its text."""
        made = self.server.insist(lambda client: client.batches.retrieve(batch))
        assert (made.status, made.request_counts.completed, made.error_file_id) == ("completed", LINES, None)
        text = self.server.insist(lambda client: client.files.content(made.output_file_id).text)
        lines = [json.loads(line) for line in text.splitlines()]
        told = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}
        assert len(lines) == len(told) == LINES, "a line was answered twice, or not at all"
        return told


def claims(place, jobs):
    """How often workers began these jobs, or went on with them."""
    return sum(place.read(job).attempt for job in jobs)


def has_ended(place, kind, name):
    with place.database.reading() as session:
        return session.query(kind).where(kind.id == name).one().status in (*ENDED, *BATCH_ENDED)


@pytest.mark.long
def test_server_and_worker_killed_together_jobs_and_batches_end_once_and_nothing_is_lost(place, found):
    randomly, begun = random.Random(13), time.monotonic()
    settings = {"lease": 3.0, "idle": 0.1, "most_deaths": 100}
    server, worker = Server(place), place.start(**settings)
    client, jobs, batches, attempts = Client(server), [], [], 0
    try:
        for number in range(KILLS):
            if all(has_ended(place, Job, job) for job in jobs):
                jobs.append(client.job(len(jobs)))
            batches.append(client.batch(number))
            wait_for(lambda before=attempts: claims(place, jobs) > before)
            time.sleep(randomly.uniform(0, 5))
            attempts = claims(place, jobs)
            for process in randomly.sample((server.process, worker), 2):
                process.send_signal(signal.SIGKILL)
            for process in (server.process, worker):
                process.wait()
            server.start()
            worker = place.start(**settings)
        wait_for(lambda: all(has_ended(place, Job, job) for job in jobs), 600)
        wait_for(lambda: all(has_ended(place, Batch, batch) for batch in batches), 600)
        answered = [client.answers(batch) for batch in batches]
        files = server.insist(lambda client: client.files.list().data)
        listed = server.insist(lambda client: client.fine_tuning.jobs.list(limit=100).data)
    finally:
        kill(worker)
        kill(server.process)
        server.client.close()
    assert {job.id: job.status for job in listed} == dict.fromkeys(jobs, "succeeded"), "a job was lost, or made twice"
    deaths = sum(each_ended_once(place, job) for job in jobs)
    with place.database.reading() as session:
        begun_again = session.query(Batch).where(Batch.attempt > 1).count()
    assert len({weights_of(place, job) for job in jobs}) == 1, "the same file and seed make the same weights"
    assert Counter(file.purpose for file in files) == {"fine-tune": 1, "batch": KILLS, "batch_output": KILLS}
    assert list((place.folder / "batches").iterdir()) == [], "the answers of a batch that ended are in its file alone"
    assert answered == [undisturbed_answers(number) for number in range(KILLS)]
    found(f"server and worker killed together, {place.kind}", KILLS, time.monotonic() - begun)
    assert deaths > 0 and begun_again > 0, "no kill hit a job, or no batch"


def each_ended_once(place, job):
    """Whether a job has each event, checkpoint and model once; returns how many workers died on it."""
    marks = Counter(event.mark for event in place.events(job))
    assert set(marks.values()) == {1} and marks["ended"] == marks["created"] == 1
    assert {f"step-{step}" for step in range(1, 73)} <= set(marks)
    models = place.models(job)
    assert len({model.id for model in models}) == len(models) == KEPT and {model.state for model in models} == {
        "released"
    }
    with place.database.reading() as session:
        steps = [kept.step for kept in session.query(JobCheckpoint).where(JobCheckpoint.job_id == job)]
    assert sorted(steps) == [48, 60, 72], "one checkpoint after each of the last epochs"
    return sum(mark.startswith("died-") for mark in marks)


def undisturbed_answers(number):
    """What the model says to the requests of a batch where nothing is killed."""
    lines = list(batch_of(number))
    questions = [
        Question(line["custom_id"], (Message("user", line["body"]["messages"][0]["content"]),), 48) for line in lines
    ]
    loaded = cached.load(Checkpoint("pocket:aligned"))
    sampler = Local.of(loaded, temperature=0.0, top_p=1.0, batch_size=8)
    return {
        line["custom_id"]: reply.text for line, reply in zip(lines, sampler.ask(questions, NoBudget(), 0), strict=True)
    }
