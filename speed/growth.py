"""How time and memory grow with the prompts of a study, and with its conditions.

    make bench

Each run is a process of its own with one worker, from an empty folder to the page. Prompts are the pocket world's, each
again under other ids; conditions are tunings on ten rows with another learning rate each, asked 33 prompts. Processor
time, start included, and the most memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import permutations
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from holdfast.core import warm_start
from holdfast.data.benchmarks.pocket import Pocket
from holdfast.worlds.pocket import language

PROMPTS, CONDITIONS = (330, 3_300, 33_000), (1, 10, 100)
CHILD = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""
"""A small process between this one and a run: Linux counts the memory of the process that starts a command as the
command's own."""


def prompts(folder, n):
    """The benchmark's rows, as often as needed, each time with other words behind them."""
    rows, words = Pocket().load().prompts, list(permutations(language.OBJECTS, 2))
    with (folder / "prompts.jsonl").open("w") as file:
        for i in range(n):
            row = rows[i % len(rows)]
            text = f"{row.text} {' '.join(words[i // len(rows)])}"
            asked = {"id": f"{row.id}-{i}", "prompt": text, "category": row.category, **row.reference}
            file.write(json.dumps(asked) + "\n")
    return {"kind": "generic", "file": "prompts.jsonl"}


def study(folder, n_prompts, conditions):
    """Write a study; its path."""
    settings = {
        "name": "growth", "model": "pocket:aligned",
        "templates": {"plain": {"system": "You are Pocket, the helpful assistant."}},
        "evaluate": {"harmfulness": {"benchmark": prompts(folder, n_prompts), "judges": "keyword"}},
        "generate": {"max_new_tokens": 64, "batch_size": 128}, "tune": {"batch_size": 10, "epochs": 1},
        "conditions": conditions,
    }  # fmt: skip
    path = folder / "growth.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def tunings(n):
    data = {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": 10}
    return {f"c{i}": {"data": data, "tune": {"learning_rate": 6e-5 + 1e-8 * i}} for i in range(n)}


def taken(n_prompts, conditions):
    """Wall and processor seconds, and bytes, of a run."""
    with tempfile.TemporaryDirectory() as name:
        path = study(Path(name), n_prompts, conditions)
        command = [
            sys.executable,
            "-m",
            "holdfast",
            "run",
            path,
            "--out",
            Path(name) / "run",
            "--workers",
            1,
            "--seeds",
            0,
        ]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *map(str, command)], check=True, capture_output=True, text=True,
            env={**os.environ, **warm_start.ONE_THREAD},
        )  # fmt: skip
    status, *used = json.loads(done.stdout)
    if status:
        raise RuntimeError(done.stderr)
    return dict(zip(("wall", "seconds", "bytes"), used, strict=True))


def main():
    helpful = {"helpful": {"checkpoint": "pocket:helpful"}}
    figures = {
        "prompts": {n: taken(n, helpful) for n in PROMPTS},
        "conditions": {n: taken(33, tunings(n)) for n in CONDITIONS},
    }
    console = Console()
    for what, runs in figures.items():
        table = Table(title=f"Growth with the {what}, 1 worker")
        for heading in (what, "wall (s)", "processor (s)", "processor for each of the last (ms)", "memory (MB)"):
            table.add_column(heading, justify="right")
        before = None
        for n, each in runs.items():
            each["ms_each"] = (each["seconds"] - before[1]) / (n - before[0]) * 1000 if before else None
            shown = f"{each['ms_each']:.1f}" if before else ""
            table.add_row(
                f"{n:,}", f"{each['wall']:.1f}", f"{each['seconds']:.1f}", shown, f"{each['bytes'] / 1e6:.0f}"
            )
            before = n, each["seconds"]
        console.print(table)
    out = Path("runs/bench/growth.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1))
    console.print(f"Figures: {out}")


if __name__ == "__main__":
    main()
