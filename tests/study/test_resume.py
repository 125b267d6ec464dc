"""Killed at any moment, a run goes on and ends as if nothing had happened."""

import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from support.studies import SMALL, figures, finish, rows_of, start, write_rows

from holdfast.study import loader as studies
from holdfast.study.plan import make_plan

SLOW_JUDGE = """
import time
from holdfast.judges.oracle import Oracle
read = Oracle.judge
def slow(self, policies, pairs, budget):
    for verdicts in read(self, policies, pairs, budget):
        for verdict in verdicts:
            time.sleep(0.005)
            yield [verdict]
Oracle.judge = slow
"""
"""Loaded by every Python process of the killed runs: judging alone is too quick to be killed in."""


def slow_study(folder):
    """Three conditions, worked through in the order first, second, initial."""

    def condition(shots, epochs):
        return {
            "data": {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": shots},
            "tune": {"epochs": epochs},
        }

    study = {
        **SMALL,
        "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": "some.jsonl"}, "judges": "oracle"}},
        "generate": {"max_new_tokens": 32, "batch_size": 8},
        "conditions": {"first": condition(60, 4), "second": condition(50, 4)},
    }
    folder.mkdir(parents=True)
    write_rows(folder / "some.jsonl", rows_of("benchmark.jsonl")[::3])
    path = folder / "slow.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def stages(path, folder):
    """What marks that a stage of the second condition is under way, and what that it is over."""
    plan = make_plan(studies.read(path), [0])
    second = next(c for c in plan.conditions if c.name == "second")
    training = next(job.training for job in plan.jobs if second in job.conditions)
    mine = folder / "conditions" / second.key
    initial = next(c for c in plan.conditions if c.name == "initial")
    return {
        "tuning": (folder / "checkpoints" / training.run, mine / "answers.jsonl"),
        "answering": (mine / "answers.jsonl", mine / "verdicts"),
        "judging": (mine / "verdicts", folder / "conditions" / initial.key),
    }


def is_there(path):
    return any(path.parent.glob(path.name + "*")) if path.parent.is_dir() else False


def finished_files(folder):
    """Answers of conditions that have all of them, and their training records, as they are."""
    files = {}
    for answers in folder.glob("conditions/*/answers.jsonl"):
        if answers.read_bytes().count(b"\n") == 110:
            for file in answers.parent.glob("[at]*.json*"):
                files[file] = (file.stat().st_mtime_ns, file.read_bytes())
    return files


def kill_in(stage, begun, ended, path, folder, slow):
    """Start the run, and kill it once a stage has begun."""
    process = start(path, folder, PYTHONPATH=os.pathsep.join([str(slow), os.environ.get("PYTHONPATH", "")]))
    deadline = time.monotonic() + 60
    while not is_there(begun):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{stage} did not begin"
        time.sleep(0.005)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not is_there(ended), f"{stage} was over before the kill"


@pytest.mark.long
def test_killed_in_every_stage_it_goes_on_and_ends_as_if_undisturbed(tmp_path):
    finish(slow_study(tmp_path / "whole"), tmp_path / "undisturbed")
    path = slow_study(tmp_path / "study")
    folder, slow = tmp_path / "run", tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW_JUDGE)
    kept: dict[Path, tuple[int, bytes]] = {}
    for stage, (begun, ended) in stages(path, folder).items():
        kill_in(stage, begun, ended, path, folder, slow)
        after = finished_files(folder)
        assert kept.items() <= after.items(), "finished work was done again"
        assert after, "the first condition was not finished before the kill"
        kept = after
    assert "report.html" in finish(path, folder)
    assert kept.items() <= finished_files(folder).items(), "finished work was done again"
    assert len(kept) == 4
    assert figures(folder) == figures(tmp_path / "undisturbed")


@pytest.mark.long
def test_workers_end_with_the_run_that_started_them(tmp_path):
    path = slow_study(tmp_path / "study")
    process = start(path, tmp_path / "run", "--workers", "2")
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoints").is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.01)
