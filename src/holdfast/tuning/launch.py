"""Tuning over several devices: the same job in processes that `accelerate launch` starts (DDP, FSDP, DeepSpeed).

Each of them runs `python -m holdfast.tuning.worker JOB`; JOB is the file that `launch` writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from holdfast.core import config
from holdfast.core.errors import DataError, TuningError
from holdfast.core.file_faults import shown
from holdfast.core.progress import OnStep, TuningStep
from holdfast.core.types import Checkpoint, Example
from holdfast.core.yaml_text import read_yaml

PROGRESS = "holdfast-progress "
"""What a line of the first process begins with when it tells how far the tuning is."""

LAST_LINES = 60
"""How much of what failed processes wrote is shown."""


Settings = tuple[str, dict[str, Any]]
"""A configuration as JSON holds it: its class as `module:name`, and its settings."""


@dataclass(frozen=True)
class TuningJob:
    """One tuning: what is tuned on what, and which epochs are kept where."""

    base: Checkpoint
    rows: tuple[Example, ...]
    seed: int
    epochs: tuple[int, ...]
    folder: Path


@dataclass(frozen=True)
class Launched:
    """A job as the started processes read it."""

    job: TuningJob
    tuner: Settings
    defences: tuple[Settings, ...]


def settings_of(configured: Any, **changes: Any) -> Settings:
    """A configuration as `load_settings` reads it in another process."""
    kind = type(configured)
    return f"{kind.__module__}:{kind.__qualname__}", {**configured.model_dump(mode="json"), **changes}


def load_settings(settings: Settings) -> Any:
    """The configuration that `settings_of` gave."""
    reference, values = settings
    return config.load(reference).model_validate(values)


def launch(launched: Launched, accelerate_config: Path, on_step: OnStep) -> None:
    """Do a job in processes of their own, as a configuration of accelerate says, and pass on their progress.

    Raises:
        TuningError: they failed; it ends with what they wrote last.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_bytes(TypeAdapter(Launched).dump_json(launched))
        command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(accelerate_config)]
        if _on_one_machine_without_port(accelerate_config):
            command += ["--main_process_port", "0"]  # a free one: two tunings may be launched at once
        command += ["-m", "holdfast.tuning.worker", str(path)]
        last: deque[str] = deque(maxlen=LAST_LINES)
        # The processes hold the other end of `stdin`: when this process ends, they read its end and end too.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as started:
            try:
                for line in started.stdout or ():
                    if line.startswith(PROGRESS):
                        on_step(TuningStep(**json.loads(line.removeprefix(PROGRESS))))
                    else:
                        last.append(line)
            except BaseException:
                started.terminate()
                raise
    if started.returncode:
        raise TuningError(f"`accelerate launch` with {accelerate_config} failed; it wrote last:\n{''.join(last)}")


def read_job(path: Path) -> Launched:
    """The job that `launch` wrote."""
    return TypeAdapter(Launched).validate_json(path.read_bytes())


def is_first() -> bool:
    """Whether this process is the one that writes; true where there is only one."""
    return os.environ.get("RANK", "0") == "0"


def world_size() -> int:
    """How many processes tune together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_of(accelerate_config: Path) -> int:
    """How many processes a configuration of accelerate starts.

    Raises:
        DataError: the file is not YAML, or no configuration of accelerate.
    """
    n = _read(accelerate_config).get("num_processes", 1)
    if type(n) is not int or n < 1:
        raise DataError(f"{accelerate_config}: num_processes must be a whole number from 1 up; found {shown(n)}.")
    return n


def _on_one_machine_without_port(accelerate_config: Path) -> bool:
    settings = _read(accelerate_config)
    return settings.get("num_machines", 1) == 1 and settings.get("main_process_port") is None


def _read(accelerate_config: Path) -> dict[str, Any]:
    settings = read_yaml(accelerate_config)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise DataError(f"{accelerate_config} is no configuration of accelerate: make one with `accelerate config`.")
    return settings
