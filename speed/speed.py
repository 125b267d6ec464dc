"""How long one condition takes here, and by the plain way: TRL's `SFTTrainer`, then `generate` in a loop.

    make bench

Both sides run in this process, one after the other, on the same rows and prompts with one thread, after a
warm-up; imports are not counted. A figure above 1 is how many times as long the plain way takes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import warnings
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from ways import PLAIN_BATCH, ours, plain

from holdfast.core import workers
from holdfast.study import loader
from holdfast.study.plan import make_plan

ROUNDS = 3


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    plan = make_plan(loader.read(loader.find("demo")), [0])
    job = next(job for job in plan.jobs if job.conditions[0].name == "harmful-100-shot")
    seconds = {"holdfast": [], "plain": []}
    for round_number in range(ROUNDS + 1):
        for name, way in (("holdfast", ours), ("plain", plain)):
            with tempfile.TemporaryDirectory() as folder:
                took = way(job, job.conditions[0], Path(folder))
            if round_number:  # the first round warms up
                seconds[name].append(took)
    show(seconds, len(job.suite.prompts))


def show(seconds, n_prompts):
    table = Table(
        title=f"One condition: 100 rows × 5 epochs, then {n_prompts} prompts; median of {ROUNDS} rounds, 1 thread"
    )
    for heading in ("", "holdfast (s)", f"TRL, generate × {PLAIN_BATCH} (s)", "times as long", "rounds"):
        table.add_column(heading, justify="right")
    figures = {}
    for stage, pick in {"tune": lambda t: t[0], "answer": lambda t: t[1], "both": sum}.items():
        mine, theirs = ([pick(took) for took in seconds[name]] for name in ("holdfast", "plain"))
        ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
        figures[stage] = {"holdfast": mine, "plain": theirs, "ratios": ratios}
        table.add_row(
            stage, f"{statistics.median(mine):.2f}", f"{statistics.median(theirs):.2f}",
            f"{statistics.median(ratios):.1f}", f"{min(ratios):.1f} to {max(ratios):.1f}",
        )  # fmt: skip
    Console().print(table)
    out = Path("runs/bench/speed.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1))
    Console().print(f"Figures: {out}")


if __name__ == "__main__":
    workers.quiet()
    main()
