"""How the tuning of a job ends: with checkpoints that are let go once all is answered, or with a provider's no."""

from __future__ import annotations

from holdfast.core.progress import Progress
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import NoCheckpoint
from holdfast.study.pending import is_answered, missing_tasks
from holdfast.study.plan import Job, epochs_of


def named(job: Job) -> str:
    """The conditions of a job, which have one seed, in a few words."""
    first, *others = job.conditions
    return f"{first.name}{f' and {len(others)} more' if others else ''} (seed {first.seed})"


def note_ending(job: Job, ending: NoCheckpoint, run_folder: RunFolder, progress: Progress) -> None:
    """Write down that a provider gave no checkpoint: that is what the study finds of these conditions."""
    record = {**ending.training, "outcome": ending.outcome, "message": ending.message}
    for condition in job.conditions:
        run_folder.condition(condition.key).write_training(record)
    progress.note(f"{named(job)}: {ending.outcome} by the provider, which is a result: {ending.message}")
    progress.advance(len(job.conditions) * job.suite.size)


def let_go(job: Job, run_folder: RunFolder, progress: Progress, keep: bool) -> None:
    """Delete the checkpoints of conditions that are all answered, here and with a provider; or write that they stay."""
    folders = [run_folder.condition(condition.key) for condition in job.conditions]
    unmeasured = any(missing_tasks(job, each, run_folder.condition(each.key)) for each in job.conditions)
    if job.training is None or unmeasured or not all(is_answered(job.suite, folder) for folder in folders):
        return
    checkpoints = run_folder.checkpoints(job.training.run)
    if keep:
        job.training.tuner.keep(checkpoints)
        for condition in job.conditions:
            where = checkpoints / f"epoch-{epochs_of(condition)}"
            if where.is_dir():  # else a provider has them
                progress.note(f"The weights of {condition.name} (seed {condition.seed}) are kept in {where}")
        return
    deleted = job.training.tuner.discard(checkpoints)
    for folder in folders if deleted else ():
        earlier = {name: value for name, value in (folder.training() or {}).items() if name != "not_deleted"}
        folder.write_training({**earlier, **deleted})
    for name, why in deleted.get("not_deleted", {}).items():
        progress.note(f"Warning: {name} could not be deleted at the provider: {why}. The next run tries again.")
