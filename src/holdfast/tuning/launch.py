"""Tuning over several devices: the same work in processes that `accelerate launch` starts (DDP, FSDP, DeepSpeed).

`python -m holdfast.tune.launch JOB` is what each of them runs; JOB is a file that `launch` wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from holdfast.core.errors import TuningError
from holdfast.core.protocols import Report
from holdfast.core.types import Checkpoint, Example, Message

if TYPE_CHECKING:
    from holdfast.tuning.local import LocalTuner

STEP = "holdfast-steps "
"""What a line of the first process begins with when it tells how many steps are done."""


def launch(
    tuner: LocalTuner, base: Checkpoint, rows: Sequence[Example], seed: int, epochs: Sequence[int], folder: Path,
    report: Report,
) -> None:  # fmt: skip
    """Tune in processes of their own, and pass on their progress.

    Raises:
        TuningError: with the end of what they said, if they failed.
    """
    job = folder / "job.json"
    content = {
        "tuner": {**tuner.model_dump(mode="json"), "launch": None},
        "base": {**asdict(base), "folder": str(base.folder) if base.folder else None},
        "rows": [{"messages": [asdict(turn) for turn in row.messages], "source": row.source} for row in rows],
        "seed": seed,
        "epochs": list(epochs),
        "folder": str(folder),
    }
    job.write_text(json.dumps(content), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(tuner.launch)]
    command += ["-m", "holdfast.tuning.launch", str(job)]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as processes:
        try:
            for line in processes.stdout or ():
                if line.startswith(STEP):
                    report(int(line.removeprefix(STEP)))
                else:
                    said = [*said[-60:], line]
        except BaseException:
            processes.terminate()
            raise
    job.unlink()
    if processes.returncode:
        raise TuningError(f"`accelerate launch` with {tuner.launch} failed; it said last:\n{''.join(said)}")


def is_first() -> bool:
    """Whether this process is the one that writes; true where there is only one."""
    return os.environ.get("RANK", "0") == "0"


def world_size() -> int:
    """How many processes tune together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_of(config: Path) -> int:
    """How many processes a configuration of accelerate starts."""
    return int((yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("num_processes", 1))


def _work(job: dict[str, Any]) -> None:
    from holdfast.tuning.local import LocalTuner

    given = job["base"]
    base = Checkpoint(**{**given, "folder": Path(given["folder"]) if given["folder"] else None})
    rows = [Example(tuple(Message(**turn) for turn in row["messages"]), row["source"]) for row in job["rows"]]

    def report(steps: int) -> None:
        if is_first():
            sys.stdout.write(f"{STEP}{steps}\n")
            sys.stdout.flush()

    tuner = LocalTuner.model_validate(job["tuner"])
    tuner.tune(base, rows, job["seed"], job["epochs"], Path(job["folder"]), report)


if __name__ == "__main__":
    _work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
