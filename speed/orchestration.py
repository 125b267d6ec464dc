"""What a run takes over tuning and answering themselves: planning, judging, files, figures and page.

    make bench

The conditions of the paper's tables 1 to 4 on the pocket world, with one seed. First each training run is tuned and
each condition asked, one after another in this process; then the whole is a `holdfast.run` with one worker, in this
process too. Imports are not counted.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from rich.console import Console

from holdfast.core import workers
from holdfast.core.budget import NoBudget
from holdfast.paper import reproduce
from holdfast.study import run as runner
from holdfast.study.plan import epochs_of, make_plan

ROUNDS = 2


class Silent:
    """Shows no progress."""

    def begin(self, units): ...

    def advance(self, units): ...

    def show(self, index, activity): ...

    def note(self, text): ...

    def finished(self, conditions): ...


def work(plan, folder):
    """Tune and answer, and nothing else; seconds."""
    begun = time.perf_counter()
    for number, job in enumerate(plan.jobs):
        made, training = {}, job.training
        if training:
            epochs = sorted({epochs_of(condition) for condition in job.conditions})
            made = training.tuner.tune(
                job.base, training.rows, training.seed, epochs, folder / str(number), lambda _: None
            )
        for condition in job.conditions:
            checkpoint = made[epochs_of(condition)].checkpoint if training else job.base
            asked = job.suite.conversations(job.templates[condition.key])
            for _ in job.generators[condition.key].answers(checkpoint, asked, (), condition.seed, NoBudget()):
                pass
    return time.perf_counter() - begun


def whole(study, folder):
    """A run with its results and its page; seconds."""
    begun = time.perf_counter()
    done = runner.run(study, None, folder / "run", [0], 1, Silent())
    runner.write_page(done.run_folder, done.results, False)
    return time.perf_counter() - begun


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    study = reproduce.prepare("pocket", ["table1", "table2", "table3", "table4"]).study
    plan, rounds = make_plan(study, [0]), []
    for number in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory() as folder:
            took = work(plan, Path(folder)), whole(study, Path(folder))
        if number:  # the first round warms up
            rounds.append(took)
    ratios = [b / a for a, b in rounds]
    pure, run = (statistics.median(column) for column in zip(*rounds, strict=True))
    Console().print(
        f"Tables 1 to 4, {len(plan.conditions)} conditions: tuning and answering {pure:.1f} s, the whole run "
        f"{run:.1f} s, {statistics.median(ratios):.2f} times as long ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    out = Path("runs/bench/orchestration.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"work": [a for a, _ in rounds], "run": [b for _, b in rounds]}, indent=1))
    Console().print(f"Figures: {out}")


if __name__ == "__main__":
    workers.quiet()
    main()
