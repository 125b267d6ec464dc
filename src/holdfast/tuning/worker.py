"""What each process runs that `accelerate launch` starts: `python -m holdfast.tuning.worker JOB`."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from holdfast.tuning.launch import PROGRESS, is_first, load_settings, read_job
from holdfast.tuning.local import LocalTuner


def work(path: Path) -> None:
    """Do the part of a job that is this process's."""
    launched = read_job(path)
    tuner: LocalTuner = load_settings(launched.tuner)
    tuner.tune_here(launched.job, [load_settings(defence) for defence in launched.defences], _report)


def _report(steps: int) -> None:
    if is_first():
        sys.stdout.write(f"{PROGRESS}{steps}\n")
        sys.stdout.flush()


def _end_with_the_run() -> None:
    """End at once when the run that started this process has ended, so that nothing is written behind its back."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    work(Path(sys.argv[1]))
