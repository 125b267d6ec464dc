"""What a study takes on given machines: hours until it is done, machine hours, and dollars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from holdfast.core.errors import DataError
from holdfast.core.files import did_you_mean
from holdfast.core.run_folder import RunFolder
from holdfast.study.doctor import cost_model, machine, resources
from holdfast.study.doctor.machine import Speed
from holdfast.study.doctor.resources import Facts
from holdfast.study.plan import epochs_of, make_plan

REACHED = 0.68
"""Share of a GPU's stated peak that stands for its arithmetic here.

With the rest of the model it gives 12,473 tokens a second for LoRA on Llama-3 8B, two sequences of 4,096 a step, on one
H100, which is published: two fifths of the peak.
"""

STARTING = 1.85e-6
"""Seconds to start an operation on a GPU: a step of a model of 32 layers then takes 27 ms at least. Assumed."""

MACHINES = {
    "h200": Speed(989e12 * REACHED, STARTING, 4.8e12),
    "h100": Speed(989e12 * REACHED, STARTING, 3.35e12),
    "a100": Speed(312e12 * REACHED, STARTING, 2.0e12),
    "l40s": Speed(362e12 * REACHED, STARTING, 0.86e12),
    "l4": Speed(121e12 * REACHED, STARTING, 0.30e12),
}
"""GPUs by what their maker states of them: dense bfloat16 operations and bytes of memory a second."""

HERE = "here"
"""One core of this machine, or its GPU: measured."""

ASKED = re.compile(r"([a-z0-9-]+?)(?:x(\d{1,5}))?(?:=(\d+(?:\.\d+)?))?")
"""`NAME`, `NAMExCOUNT`, `NAME=DOLLARS` or `NAMExCOUNT=DOLLARS`."""


@dataclass(frozen=True)
class Fleet:
    """Machines of one kind."""

    name: str
    count: int
    usd_per_hour: float | None
    """Of each; None where it is not said."""

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU of the list; `here` is what this machine has."""
        return self.name in MACHINES


@dataclass(frozen=True)
class Takes:
    """What a study takes on a fleet."""

    name: str
    count: int
    hours: float
    """Until all is done."""
    tuning_hours: float
    """Of all machines together."""
    answering_hours: float
    """Of all machines together."""
    machine_hours: float
    """That are paid: all machines until the last is done."""
    usd: float | None
    idle: float
    """Share of the machine hours in which a machine waits for the last one."""
    measured: bool
    """Whether the machine's speed was measured; else it is what its maker states."""


def asked(text: str) -> Fleet:
    """The machines that a text such as `h100x8=2.5` names: eight H100, at 2.5 US dollars an hour each.

    Raises:
        DataError: it names none.
    """
    found = ASKED.fullmatch(text.strip().lower())
    names = (HERE, *MACHINES)
    if not found or found[1] not in names or found[2] == "0":
        raise DataError(
            f"--machine takes NAME, NAMExCOUNT and NAMExCOUNT=DOLLARS an hour, such as h100x8=2.5; found {text[:60]!r}."
            f" Names: {', '.join(names)}.{did_you_mean(text, names)}"
        )
    return Fleet(found[1], int(found[2] or 1), float(found[3]) if found[3] else None)


def takes(facts: Facts, fleet: Fleet, factor: float = 1.0) -> Takes:
    """What a study takes; `factor` is by how much tuning takes longer than the model says (`fitted`)."""
    speed, weight = (MACHINES[fleet.name], 2) if fleet.is_gpu else (machine.speed(), None)
    jobs = resources.job_seconds(facts, speed, weight)
    tuned = [factor * seconds for seconds, _ in jobs]
    together = [a + b for a, (_, b) in zip(tuned, jobs, strict=True)]
    seconds = cost_model.makespan(together, fleet.count) + cost_model.SECONDS_TO_START
    paid = fleet.count * seconds / 3600
    usd = None if fleet.usd_per_hour is None else paid * fleet.usd_per_hour
    idle = 1 - sum(together) / (fleet.count * seconds)
    answering = sum(seconds for _, seconds in jobs)
    return Takes(
        fleet.name, fleet.count, seconds / 3600, sum(tuned) / 3600, answering / 3600, paid, usd, idle, not fleet.is_gpu
    )


def fitted(facts: Facts, folders: Sequence[Path]) -> tuple[float, int]:
    """By how much tuning took longer than the model says, in runs of the study on this machine.

    Returns:
        The median over training runs of measured over predicted seconds, and how many there were.

    Raises:
        DataError: none of the folders has a training run of the study.
    """
    study = facts.study
    plan = make_plan(study, study.seeds)
    ratios = []
    for folder in folders:
        for condition in plan.conditions:
            record = RunFolder(folder).condition(condition.key).training()
            if record is None or condition.name not in study.conditions or condition.name not in facts.training_sets:
                continue
            tuning = resources.tuning_of(facts, condition.name, study.conditions[condition.name], epochs_of(condition))
            predicted = cost_model.tuning_seconds(facts.shape, tuning, machine.speed())
            ratios.append(record["seconds"] / max(predicted - cost_model.loading_seconds(facts.shape), 1e-3))
    if not ratios:
        raise DataError(f"{', '.join(map(str, folders))}: there is no training run of this study. Run one seed first.")
    return median(ratios), len(ratios)
