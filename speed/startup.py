"""How long a small run takes from a cold start, here and with an older checkout, side by side.

    git worktree add ../older COMMIT
    python speed/startup.py ../older [--demo]

Each run is a process of its own with the default number of workers: 330 prompts of each of two models, from an empty
folder to the page. With `--demo` also the study `demo`, which tunes six times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

ROUNDS = 3
SMALL = {
    "name": "small", "model": "pocket:aligned",
    "templates": {"plain": {"system": "You are Pocket, the helpful assistant."}},
    "evaluate": {"harmfulness": {"benchmark": "pocket", "judges": "oracle"}},
    "generate": {"max_new_tokens": 64, "batch_size": 128},
    "conditions": {"helpful": {"checkpoint": "pocket:helpful"}},
}  # fmt: skip


def taken(checkout, study, folder, options):
    """Seconds of a run. Its processor time is not known here: workers are no children of the run."""
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "holdfast", "run", study, "--out", str(folder), *options],
        check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(checkout / "src")},
    )  # fmt: skip
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("older", type=Path)
    parser.add_argument("--demo", action="store_true")
    given = parser.parse_args()
    checkouts = {"older": given.older.resolve(), "here": Path(__file__).resolve().parent.parent}
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        small = Path(name) / "small.yaml"
        small.write_text(yaml.safe_dump(SMALL, sort_keys=False))
        runs = {"2 × 330 prompts": (str(small), []), "2 × 330 prompts, one worker": (str(small), ["--workers", "1"])}
        if given.demo:
            runs["demo"] = ("demo", [])
        for run_name, (study, options) in runs.items():
            figures[run_name] = {side: [] for side in checkouts}
            for turn in range(ROUNDS):
                for side, checkout in checkouts.items():
                    folder = Path(name) / f"{len(figures)}-{turn}-{side}"
                    figures[run_name][side].append(taken(checkout, study, folder, options))
    show(figures)


def show(figures):
    table = Table(title=f"From a cold start; median of {ROUNDS} rounds")
    for heading in ("", "older (s)", "here (s)", "share of the time", "rounds"):
        table.add_column(heading, justify="right")
    for name, each in figures.items():
        shares = [here / older for older, here in zip(each["older"], each["here"], strict=True)]
        walls = [f"{statistics.median(each[side]):.1f}" for side in ("older", "here")]
        table.add_row(name, *walls, f"{statistics.median(shares):.2f}", f"{min(shares):.2f} to {max(shares):.2f}")
    Console().print(table)
    out = Path("runs/bench/startup.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1))
    Console().print(f"Figures: {out}")


if __name__ == "__main__":
    main()
