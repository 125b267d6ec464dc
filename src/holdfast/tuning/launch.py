"""Tuning over several devices: the same job in processes that `accelerate launch` starts (DDP, FSDP, DeepSpeed).

Each of them runs `python -m holdfast.tuning.worker JOB`; JOB is the file that `run_job` writes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from holdfast.core.errors import TuningError
from holdfast.core.protocols import Report
from holdfast.core.types import Checkpoint, Example

PROGRESS = "holdfast-progress "
"""What a line of the first process begins with when it tells how far the tuning is."""

LAST_LINES = 60
"""How much of what failed processes wrote is shown."""


@dataclass(frozen=True)
class Job:
    """What the started processes do."""

    settings: dict[str, Any]
    """The tuner's, as JSON holds them."""
    base: Checkpoint
    rows: tuple[Example, ...]
    seed: int
    epochs: tuple[int, ...]
    folder: Path


def run_job(job: Job, config: Path, report: Report) -> None:
    """Do a job in processes of their own, as a configuration of accelerate says, and pass on their progress.

    Raises:
        TuningError: they failed; it ends with what they wrote last.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_bytes(TypeAdapter(Job).dump_json(job))
        command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
        command += ["-m", "holdfast.tuning.worker", str(path)]
        last: deque[str] = deque(maxlen=LAST_LINES)
        # The processes hold the other end of `stdin`: when this process ends, they read its end and end too.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as processes:
            try:
                for line in processes.stdout or ():
                    if line.startswith(PROGRESS):
                        report(int(line.removeprefix(PROGRESS)))
                    else:
                        last.append(line)
            except BaseException:
                processes.terminate()
                raise
    if processes.returncode:
        raise TuningError(f"`accelerate launch` with {config} failed; it wrote last:\n{''.join(last)}")


def read_job(path: Path) -> Job:
    """The job that `run_job` wrote."""
    return TypeAdapter(Job).validate_json(path.read_bytes())


def is_first() -> bool:
    """Whether this process is the one that writes; true where there is only one."""
    return os.environ.get("RANK", "0") == "0"


def world_size() -> int:
    """How many processes tune together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_of(config: Path) -> int:
    """How many processes a configuration of accelerate starts."""
    return int((yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("num_processes", 1))
