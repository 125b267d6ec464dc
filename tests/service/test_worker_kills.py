"""Workers killed at random moments: each job ends exactly once, with the weights that an undisturbed tuning makes."""

import json
import os
import random
import time

import pytest
from support.postgres import database_url
from support.service_jobs import Workplace, kill
from support.studies import rows_of

from holdfast.core.types import Checkpoint
from holdfast.data.training.messages import Messages
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
