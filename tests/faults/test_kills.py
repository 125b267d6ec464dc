"""SIGKILL at random moments of every stage, again and again: the run goes on and ends as an undisturbed one.

`HOLDFAST_KILLS` says how many; `make attack` sets it to 50.
"""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from select import select

import pytest
import yaml
from support.studies import SMALL, figures, rows_of, write_rows

KILLS = int(os.environ.get("HOLDFAST_KILLS", "5"))
STAGES = ("tune", "save", "answer", "judge", "results", "page")
HOOK = """
import functools, os, time

def announced(stage, work):
    @functools.wraps(work)
    def wrapper(*arguments, **settings):
        pipe = os.open(os.environ["STAGES_PIPE"], os.O_WRONLY | os.O_NONBLOCK)
        os.write(pipe, f"{stage}\\n".encode())
        os.close(pipe)
        return work(*arguments, **settings)
    return wrapper

def with_announced_saves(trainer_class):
    def wrapper(*arguments):
        made = trainer_class(*arguments)
        save = announced("save", made._save_checkpoint)
        ended = announced("saved", lambda: None)
        made._save_checkpoint = lambda *arguments: (save(*arguments), ended())[0]
        for name in ("_save_optimizer_and_scheduler", "_save_rng_state"):
            setattr(made, name, paused(getattr(made, name)))
        return made
    return wrapper

def paused(work):
    def wrapper(*arguments):
        time.sleep(0.1)
        work(*arguments)
        time.sleep(0.1)
    return wrapper

def slowed(judge):
    def wrapper(self, policies, pairs, budget):
        for verdicts in judge(self, policies, pairs, budget):
            for verdict in verdicts:
                time.sleep(0.005)
                yield [verdict]
    return wrapper

if "STAGES_PIPE" in os.environ:
    from holdfast.judges.oracle import Oracle
    from holdfast.study import run
    from holdfast.tuning import trainer
    trainer.SAVE_EVERY = -1.0
    trainer.trainer_class = with_announced_saves(trainer.trainer_class)
    Oracle.judge = slowed(Oracle.judge)
    for stage, name in zip(("tune", "answer", "judge", "results", "page"),
                           ("tune", "answer", "judge_all", "summarise", "write_page")):
        setattr(run, name, announced(stage, getattr(run, name)))
"""
"""Loaded by every process of these runs. They say which stage begins. The trainer saves after every epoch, which takes as
long as with a large model; judging, too, takes longer. `save` is a part of `tune` that ends with `saved`."""


class Runs:
    """The processes of one study, and the pipe by which they tell their stage."""

    def __init__(self, folder):
        self.folder, self.pipe = folder, folder / "stages"
        self.path = write_study(folder)
        os.mkfifo(self.pipe)
        self.reader = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.writer = os.open(self.pipe, os.O_WRONLY)  # so that the pipe never ends
        self.longest = 0.0

    def start(self, out, workers):
        with suppress(BlockingIOError):
            while os.read(self.reader, 10_000):  # what an orphan said
                pass
        path = os.pathsep.join([str(self.folder / "hooks"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "STAGES_PIPE": str(self.pipe)}
        command = [sys.executable, "-m", "holdfast", "run", self.path, "--out", out, "--workers", workers]
        return subprocess.Popen(
            list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def stages(self, process):
        """Each stage that a process begins, and when, until it has ended."""
        while process.poll() is None:
            if select([self.reader], [], [], 0.05)[0]:
                for stage in os.read(self.reader, 10_000).decode().split():
                    yield stage, time.monotonic()

    def finish(self, out, workers=1):
        """Let a run go on to its end; how long each stage took that it did."""
        begun = time.monotonic()
        process = self.start(out, workers)
        moments = list(self.stages(process))
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        self.longest = max(self.longest, time.monotonic() - begun)
        ends = [moment for _, moment in moments[1:]] + [time.monotonic()]
        taken = {}
        for (stage, moment), end in zip(moments, ends, strict=True):
            taken.setdefault(stage, []).append(end - moment)
        return taken

    def kill(self, out, workers, stage, nth, after):
        """Kill a run so many seconds after a stage began for the nth time; False where it was over before that."""
        process = self.start(out, workers)
        begun = (moment for found, moment in self.stages(process) if found == stage)
        for _ in range(nth):
            if next(begun, None) is None:
                break
        else:
            time.sleep(after)
        process.kill()
        output, _ = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), output
        return process.returncode != 0


def write_study(folder):
    def condition(shots, epochs):
        data = {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": shots}
        return {"data": data, "tune": {"epochs": epochs}}

    (folder / "hooks").mkdir()
    (folder / "hooks" / "sitecustomize.py").write_text(HOOK)
    write_rows(folder / "some.jsonl", rows_of("benchmark.jsonl")[::8])
    benchmark = {"kind": "generic", "file": "some.jsonl"}
    study = {
        **SMALL,
        "evaluate": {"harmfulness": {"benchmark": benchmark, "judges": "oracle"}},
        "generate": {"max_new_tokens": 32, "batch_size": 8},
        "conditions": {"first": condition(20, 5), "second": condition(30, 4)},
    }
    path = folder / "killed.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.long
def test_killed_at_random_moments_of_every_stage_a_run_ends_as_an_undisturbed_one(tmp_path, found):
    runs, whole, out = Runs(tmp_path), tmp_path / "undisturbed", tmp_path / "run"
    taken = runs.finish(whole)
    assert taken.keys() == {*STAGES, "saved"}
    drawn, killed, missed = random.Random(0), Counter(dict.fromkeys(STAGES, 0)), 0
    for stage in itertools.cycle(STAGES):
        nth, after = drawn.choice((1, 1, 2)), drawn.uniform(0, drawn.choice(taken[stage]))
        hit = runs.kill(out, drawn.choice((1, 2)), stage, nth, after)
        killed[stage] += hit
        missed = 0 if hit else missed + 1
        assert missed < 10, f"the runs are over before they are killed: {killed}"
        enough = killed.total() >= KILLS and all(killed.values())
        if hit and stage != STAGES[-1] and not enough:
            continue
        runs.finish(out, drawn.choice((1, 2)))
        assert figures(out) == figures(whole), killed
        assert files_in(out) == files_in(whole)
        shutil.rmtree(out)
        if enough:
            break
    found("SIGKILL in any stage", killed.total(), runs.longest)
