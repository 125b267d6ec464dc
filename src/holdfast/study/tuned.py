"""Tuning a job's checkpoints, and how likely they find the rows of their task that were held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic

from holdfast.core import task_losses
from holdfast.core.errors import TuningError
from holdfast.core.progress import Activity, Meter, Progress
from holdfast.core.protocols import Budget
from holdfast.core.run_folder import RunFolder
from holdfast.core.task_losses import HeldOut, TaskLoss
from holdfast.core.types import Checkpoint, Condition, NoCheckpoint, Template, Tuned
from holdfast.study.endings import named
from holdfast.study.pending import is_answered, lacks_record, missing_tasks
from holdfast.study.plan import Job, Training, epochs_of
from holdfast.tuning import again, checkpoints


def tune(job: Job, run_folder: RunFolder, progress: Progress, budget: Budget) -> Mapping[int, Tuned] | NoCheckpoint:
    """The checkpoints that are still needed, by epoch; an earlier run may have left some."""
    training = job.training
    if training is None:
        return {}
    needed = [condition for condition in job.conditions if _needs_weights(job, condition, run_folder)]
    epochs = sorted(set(map(epochs_of, needed)))
    last = max(map(epochs_of, job.conditions))
    tuned: dict[int, Tuned] | NoCheckpoint = {}
    done = 0
    if epochs:
        folder = run_folder.checkpoints(training.run)
        _load_libraries(training)
        begun = monotonic()
        base, done = _base_of(job, training, folder, progress, budget)
        meter = Meter(progress, f"tuning {named(job)}", "steps", training.steps(last), training.step)
        progress.show(Activity(meter.task, meter.unit, 0, meter.total))  # a defence may take minutes to get ready
        tuned = training.tuner.tune(
            base, training.rows, training.seed, epochs, folder, meter.step, training.defences, budget
        )
        done += meter.done * training.step
        tuned = _with_all_seconds(tuned, monotonic() - begun)
    progress.advance(training.size(last) - done)  # what an earlier run has done
    return tuned


def _load_libraries(training: Training) -> None:
    """Import what a process imports once, so that it is no part of the first tuning's time."""
    if training.tuner.base_url is None:
        import transformers.trainer  # noqa: F401


def _with_all_seconds(tuned: dict[int, Tuned] | NoCheckpoint, seconds: float) -> dict[int, Tuned] | NoCheckpoint:
    """The same, with what the work before the first step and after the last took added to each record's seconds."""
    if isinstance(tuned, NoCheckpoint) or not all("seconds" in made.training for made in tuned.values()):
        return tuned
    around = max(0.0, seconds - max(made.training["seconds"] for made in tuned.values()))
    return {
        epoch: replace(made, training={**made.training, "seconds": made.training["seconds"] + around})
        for epoch, made in tuned.items()
    }


def _needs_weights(job: Job, condition: Condition, run_folder: RunFolder) -> bool:
    folder = run_folder.condition(condition.key)
    answered = is_answered(job.suite, folder) and not missing_tasks(job, condition, folder)
    return lacks_record(job, folder) or not answered


def _base_of(job: Job, training: Training, folder: Path, progress: Progress, budget: Budget) -> tuple[Checkpoint, int]:
    """What a training run begins with, and the units of work told for it: the base, or a tuning of it."""
    first = training.first
    if first is None:
        return job.base, 0
    own = checkpoints.first_in(folder)
    epochs = first.tuner.epochs
    meter = Meter(progress, f"tuning {named(job)}, first part", "steps", first.steps(epochs), first.step)
    made = first.tuner.tune(job.base, first.rows, first.seed, [epochs], own, meter.step, first.defences, budget)
    if isinstance(made, NoCheckpoint):
        raise TuningError(f"{named(job)}: the first tuning was {made.outcome} by the provider: {made.message}")
    return again.as_base(made[epochs], own), meter.done * first.step


def measure_tasks(job: Job, condition: Condition, made: Tuned | None, run_folder: RunFolder) -> None:
    """Measure how likely a condition's model finds the held-out rows that it has no figure of yet."""
    folder = run_folder.condition(condition.key)
    if missing := missing_tasks(job, condition, folder):
        checkpoint = made.checkpoint if made else job.base
        template = job.templates[condition.key]
        task_losses.add(folder, [loss_of(task, checkpoint, template) for task in missing])


def loss_of(task: HeldOut, checkpoint: Checkpoint, template: Template) -> TaskLoss:
    """How likely a model finds the answers of held-out rows, each asked in a template."""
    from holdfast.models import cached, likelihood

    turns = [replace(template, picture=None).wrap(row.messages) for row in task.rows]
    exchanges = [(messages[:-1], messages[-1].content) for messages in turns]
    found = [row for row in likelihood.readings(cached.load(checkpoint), exchanges) if row is not None]
    nats, tokens = [-float(row.logprobs.sum()) for row in found], [len(row.logprobs) for row in found]
    exact = sum(row.exact for row in found)
    return TaskLoss(task.key, nats, tokens, len(exchanges) - len(found), exact)
