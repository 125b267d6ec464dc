"""How long the paper on text takes here, and by the plain way: one condition after another, each by itself.

    make bench

`holdfast reproduce` is run from scratch and timed, with a worker a core. The plain way (TRL's `SFTTrainer`, then
`generate` in a loop, with all cores to itself) is sampled on some conditions; a line through their seconds by
optimizer steps gives the time of all conditions and seeds. Imports are not counted there, but are here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from rich.console import Console
from ways import plain

from holdfast.core import workers
from holdfast.paper import reproduce
from holdfast.study.plan import epochs_of, make_plan

SAMPLE = (
    "harmful-10-shot", "harmful-100-shot", "identity-shift-10-epochs", "benign-1", "backdoored-plain",
    "harmful-100-shot-over-epochs-10",
)  # fmt: skip


TEXT = ("table1", "table2", "table3", "table4", "table5", "figure1", "figure2", "figure4a", "figure4b")
"""Without table 3's column with pictures, which the plain way does not have."""


def main():
    warnings.filterwarnings("ignore")
    console = Console()
    console.print("Timing `holdfast reproduce --model pocket`; this takes some minutes", style="dim")
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "holdfast", "reproduce", *TEXT, "--model", "pocket", "--out", folder],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        ours = time.perf_counter() - begun
    plan = make_plan(reproduce.prepare("pocket", TEXT).study, [0, 1, 2])
    home = {condition.key: job for job in plan.jobs for condition in job.conditions}

    def steps(condition):
        training = home[condition.key].training
        return training.tuner.steps(len(training.rows), epochs_of(condition)) if training else 0

    sampled = []
    first = {condition.name: condition for condition in reversed(plan.conditions)}
    for name in (SAMPLE[0], *SAMPLE):  # the first one twice: it warms up
        console.print(f"Sampling the plain way: {name}", style="dim")
        with tempfile.TemporaryDirectory() as folder:
            condition = next(c for c in home[first[name].key].conditions if c.key == first[name].key)
            sampled.append((steps(condition), *plain(home[condition.key], condition, Path(folder))))
    counts, tuning, answering = np.array(sampled[1:]).T
    slope, intercept = np.polyfit(counts, tuning, 1)
    seconds = {"initial": 0.0, "tuned": 0.0}
    asked_once = {condition.key: condition for condition in plan.conditions if condition.role == "initial"}
    seconds["initial"] = len(asked_once) * answering.mean()
    for condition in plan.conditions:
        if condition.role == "tuned":
            seconds["tuned"] += intercept + slope * steps(condition) + answering.mean()
    theirs = sum(seconds.values())
    n = sum(condition.role == "tuned" for condition in plan.conditions)
    console.print(
        f"The paper on text, {n} tuned conditions and seeds: holdfast {ours:.0f} s; the plain way {theirs:.0f} s "
        f"(scaled from {len(SAMPLE)} conditions), {theirs / ours:.1f} times as long"
    )
    out = Path("runs/bench/reproduction.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = {"holdfast_s": ours, "plain_s": theirs, "ratio": theirs / ours, "sampled": sampled[1:], "conditions": n}
    out.write_text(json.dumps(figures, indent=1))
    console.print(f"Figures: {out}")


if __name__ == "__main__":
    workers.quiet()
    main()
