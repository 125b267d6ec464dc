"""What each defence costs over plain tuning: processor time and memory.

    make bench

Each defence of the study `defences` tunes the pocket model on the 100 rows of its attack `harmful-100`, in a process of
its own with one thread; what is done before the first step and after the last counts too. Time is the processor's, so
that other work on the machine changes it little; imports, and a first tuning that warms up, are not counted. Memory is
the highest of the process, beyond that of plain tuning. The model is small, so that is mostly of rows and arithmetic.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from rich.console import Console
from rich.table import Table

from holdfast.core import workers
from holdfast.study import loader
from holdfast.study.plan import make_plan

ATTACK = "harmful-100"
ROUNDS = 3


def job_of(defence):
    """The tuning of one defence."""
    study = loader.read(loader.find("defences"))
    name = f"{ATTACK}+{defence}"
    alone = study.model_copy(update={"conditions": {name: study.conditions[name]}})
    return next(job for job in make_plan(alone, [0]).jobs if job.training)


def measure(defence):
    """Processor seconds of each round, and the most bytes that the process had."""
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(1)
    job = job_of(defence)
    training, seconds = job.training, []
    for round_number in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            epochs = [training.tuner.epochs]
            training.tuner.tune(job.base, training.rows, 0, epochs, Path(folder), lambda _: None, training.defences)
            if round_number:
                seconds.append(time.process_time() - begun)
    return {"seconds": seconds, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main():
    if len(sys.argv) > 1:
        workers.quiet()
        print(json.dumps(measure(sys.argv[1])))
        return
    study = loader.read(loader.find("defences"))
    names = list(dict.fromkeys(each.cell.defence for each in study.conditions.values()))
    figures = {}
    for name in names:
        command = [sys.executable, __file__, name]
        environment = {**os.environ, **workers.ONE_THREAD}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        figures[name] = json.loads(done.stdout.splitlines()[-1])
    show(figures)


def show(figures):
    console = Console()
    plain = figures["none"]
    table = Table(title=f"What a defence costs: 100 rows × 5 epochs, median of {ROUNDS} rounds, 1 thread")
    for heading in ("defence", "processor (s)", "times as long", "more memory (MB)"):
        table.add_column(heading, justify="left" if heading == "defence" else "right")
    least = statistics.median(plain["seconds"])
    for name, each in figures.items():
        seconds = statistics.median(each["seconds"])
        more = (each["bytes"] - plain["bytes"]) / 1e6
        each["ratio"] = seconds / least
        table.add_row(name, f"{seconds:.2f}", f"{each['ratio']:.1f}", f"{more:.0f}")
    console.print(table)
    out = Path("runs/bench/defences.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1))
    console.print(f"Figures: {out}")


if __name__ == "__main__":
    main()
