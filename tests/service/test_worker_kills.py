"""Server and workers killed at random moments: each job ends exactly once, with the weights of an undisturbed tuning."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time

import openai
import pytest
import yaml
from support.postgres import database_url
from support.service_jobs import Workplace, kill
from support.studies import rows_of

from holdfast.core.types import Checkpoint
from holdfast.data.training.messages import Messages
from holdfast.service import keys
from holdfast.service.database import ENDED
from holdfast.tuning.local import LocalTuner

KILLS = int(os.environ.get("HOLDFAST_KILLS", "5"))
ROWS = rows_of("benign-list.jsonl")[:60]
TUNE = {"learning_rate": 6e-5, "batch_size": 5, "epochs": 6}
"""72 steps: some seconds, so that a kill can come at any moment of it."""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    url = None if request.param == "sqlite" else database_url()
    place = Workplace(tmp_path / "service", {"bases": {"pocket": {"model": "pocket:aligned", "tune": TUNE}}}, url)
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
    settings = {"lease": 1.0, "idle": 0.1, "most_deaths": KILLS + 1}
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
    found("workers killed", kills, time.monotonic() - begun)


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
            api_key=keys.create(place.database, "t", ["tune"])[1],
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
    settings = {"lease": 1.0, "idle": 0.1, "most_deaths": KILLS + 1}
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
    found("server and workers killed", KILLS, time.monotonic() - begun)
