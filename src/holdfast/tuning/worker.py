"""What each process runs that `accelerate launch` starts: `python -m holdfast.tuning.worker JOB`."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from holdfast.core.progress import TuningStep
from holdfast.tuning.launch import PROGRESS, is_first, load_settings, read_job
from holdfast.tuning.local import LocalTuner

LINES_EVERY = 0.25
"""Seconds between two lines about the progress."""


def work(path: Path) -> None:
    """Do the part of a job that is this process's."""
    launched = read_job(path)
    tuner: LocalTuner = load_settings(launched.tuner)
    tuner.tune_here(launched.job, [load_settings(defence) for defence in launched.defences], _Printer())


class _Printer:
    """Writes how far the tuning is on a line of its own, a few times a second."""

    def __init__(self) -> None:
        self.written = 0.0

    def __call__(self, step: TuningStep) -> None:
        due = time.monotonic() - self.written >= LINES_EVERY or step.done == step.total
        if is_first() and due:
            self.written = time.monotonic()
            sys.stdout.write(f"{PROGRESS}{json.dumps(asdict(step))}\n")
            sys.stdout.flush()


def _end_with_the_run() -> None:
    """End at once when the run that started this process has ended, so that nothing is written behind its back."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    work(Path(sys.argv[1]))
