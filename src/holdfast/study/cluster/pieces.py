"""A job as pieces of work for a cluster, and what each needs. A job with many answers to give is several pieces."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from holdfast.core.run_folder import RunFolder
from holdfast.study.cluster.places import on_any_machine
from holdfast.study.cost_forecast import likely_tokens
from holdfast.study.doctor import cost_model
from holdfast.study.doctor.model_checks import shape_of
from holdfast.study.plan import Job
from holdfast.study.suite import EvalSuite

ANSWERS_A_PIECE = 4096
"""Answers that one piece gives at most, about: a job with more is divided, so that several machines share it."""

OF_A_PROCESS = 1 << 30
"""Bytes that a process takes with torch and transformers, without any model."""

Part = Literal["whole", "tune", "answer", "judge"]


@dataclass(frozen=True)
class Needs:
    """What a piece takes of a machine."""

    gpus: int
    """0 where no GPU helps."""
    memory: int
    """Bytes of the machine's own memory: an estimate."""


@dataclass(frozen=True)
class Piece:
    """Work that one task does."""

    job: Job
    """With a model that any machine finds."""
    part: Part = "whole"
    share: tuple[int, int] = (0, 1)
    """Which of how many parts of the batches of answers."""

    @property
    def stays(self) -> bool:
        """Whether it is done on the machine of the run: what a provider's job is called must not be lost."""
        return self.job.training is not None and self.job.training.tuner.base_url is not None

    @property
    def local(self) -> bool:
        """Whether a model is tuned or asked by the task itself."""
        tuned = self.job.training is not None and not self.stays
        return tuned or any(is_local(generator) for generator in self.job.generators.values())


def is_local(generator: Any) -> bool:
    """Whether a generator has a model answer in its own process."""
    return getattr(generator, "kind", "") == "local"


def pieces_of(job: Job) -> list[Piece]:
    """The first pieces of a job; `following` names those after them.

    They depend on the job alone: the cluster may be of any size.
    """
    job = replace(job, base=on_any_machine(job.base))
    whole = Piece(job)
    if _parts(job) == 1 or whole.stays or not all(map(is_local, job.generators.values())):
        return [whole]
    return [Piece(job, "tune")] if job.training else _answering(job)


def following(piece: Piece, run_folder: RunFolder) -> list[Piece]:
    """The pieces that can be done once a job's pieces of one part are done; none if all is done."""
    if piece.part == "tune":
        return _answering(piece.job)
    return _judging(piece.job, run_folder) if piece.part == "answer" else []


def _parts(job: Job) -> int:
    return max(1, math.ceil(len(job.conditions) * len(job.suite.prompts) / ANSWERS_A_PIECE))


def _answering(job: Job) -> list[Piece]:
    return [Piece(job, "answer", (index, _parts(job))) for index in range(_parts(job))]


def _judging(job: Job, run_folder: RunFolder) -> list[Piece]:
    """Pieces that judge the answers there are; each its own prompts."""
    answered = set(job.suite.prompts)
    for condition in job.conditions:
        answers = run_folder.condition(condition.key).answers().values()
        answered &= {answer.prompt_id for answer in answers if answer.outcome != "backend_error"}
    names = [name for name in job.suite.prompts if name in answered]
    some = [frozenset(names[start : start + ANSWERS_A_PIECE]) for start in range(0, len(names), ANSWERS_A_PIECE)]
    return [Piece(replace(job, suite=only(job.suite, each)), "judge") for each in some]


def only(suite: EvalSuite, names: frozenset[str]) -> EvalSuite:
    """A suite that asks these prompts alone."""
    benchmarks = {
        name: replace(each, prompts=tuple(prompt for prompt in each.prompts if prompt.id in names))
        for name, each in suite.benchmarks.items()
    }
    return EvalSuite(suite.sets, benchmarks)


def needs_of(piece: Piece, gpus: bool) -> Needs:
    """What a piece takes, on a cluster with or without GPUs."""
    if piece.part == "judge" and not _judges_are_local(piece.job):
        return Needs(0, OF_A_PROCESS)
    if not piece.local or piece.job.base.served:
        return Needs(0, OF_A_PROCESS)
    shape = _shape(piece.job.base.base)
    training: Any = piece.job.training
    launch = getattr(training.tuner, "launch", None) if training else None
    if gpus:
        from holdfast.tuning.launch import processes_of

        return Needs(processes_of(launch) if launch else 1, OF_A_PROCESS + 4 * shape.parameters)
    needed = [OF_A_PROCESS]
    if training and piece.part in ("whole", "tune"):
        tuner = training.tuner
        longest = min(tuner.max_length, max(likely_tokens(row.messages) for row in training.rows))
        rows = min(tuner.batch_size, len(training.rows))
        precision = "float32" if tuner.precision == "auto" else tuner.precision
        recomputed = tuner.gradient_checkpointing
        needed.append(cost_model.tuning_bytes(shape, tuner.method, precision, rows, longest, recomputed))
    if piece.part in ("whole", "answer"):
        needed += [_answering_bytes(piece.job, key, shape) for key in piece.job.generators]
    return Needs(0, OF_A_PROCESS + max(needed))


def _judges_are_local(job: Job) -> bool:
    """Whether a judge may be a model in the task's own process."""
    judges = [judge for measured in job.suite.sets.values() for judge in measured.judges]
    return any('"kind": "local"' in json.dumps(judge.model_dump(mode="json")) for judge in judges)


def _answering_bytes(job: Job, key: str, shape: cost_model.Shape) -> int:
    generator: Any = job.generators[key]
    longest = max(map(likely_tokens, job.suite.conversations(job.templates[key]).values()), default=0)
    return cost_model.answering_bytes(shape, generator.batch_size, longest + generator.max_new_tokens, 4)


@lru_cache(maxsize=64)
def _shape(name: str) -> cost_model.Shape:
    from holdfast.models import hub

    if name.startswith("hub:"):
        model, _, revision = name.removeprefix("hub:").partition("@")
        return shape_of(hub.resolve(model, revision))
    return shape_of(Path(hub.resolve(name)))
