"""Runs in processes of their own whose answers are there and whose judge is paid: a stand-in server is asked."""

import json
import os
import shutil
import threading
import time
from pathlib import Path

import yaml
from support.endpoint_double import Double
from support.pocket_answers import STUDY
from support.scripted_judge import honest, scripted
from support.studies import start

REGISTER = """
from holdfast.judges import JUDGES
JUDGES["scripted"] = "support.scripted_judge:Scripted"
"""
CANARIES = 12
WIDTH = 4
"""Requests at once of one worker."""


def slow_server(seconds=0.3):
    """A server that takes so long for each reply."""

    def behave(asked):
        act = honest(asked)
        return type(act)(act.status, act.content, act.headers, seconds, act.paid)

    return Double(behave, models=["judge"])


def environment(folder):
    """What lets the processes of a run know the scripted judge."""
    hooks = folder / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(REGISTER)
    tests = str(Path(__file__).parents[1])
    return {"PYTHONPATH": os.pathsep.join([str(hooks), tests, os.environ.get("PYTHONPATH", "")])}


def study(folder, server):
    path = folder / "study.yaml"
    judge = scripted(server, concurrency=WIDTH)
    path.write_text(yaml.safe_dump({**STUDY, "evaluate": {"harmfulness": {"benchmark": "pocket", "judges": [judge]}}}))
    return path


def start_judging(folder, server, answered, workers):
    """`holdfast run` on a copy of the answered folder."""
    shutil.copytree(answered, folder / "run")
    return start(study(folder, server), folder / "run", "--workers", str(workers), **environment(folder))


def stored(run):
    """Verdicts in a run folder that were bought; every line is whole."""
    rows = [json.loads(line) for file in run.rglob("verdicts.*.jsonl") for line in file.read_text().splitlines()]
    return [row for row in rows if not row["from_cache"]]


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Heartbeat:
    """How much later than it should a thread of this machine wakes up: what a limit in seconds must allow."""

    def __enter__(self):
        self.late, self.ended = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()
        return self

    def _beat(self):
        while not self.ended.is_set():
            begun = time.monotonic()
            time.sleep(0.02)
            self.late += max(0.0, time.monotonic() - begun - 0.025)

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def alive(group):
    """Whether a process of a group is alive."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state != "Z":
            return True
    return False
