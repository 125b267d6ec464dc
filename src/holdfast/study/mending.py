"""What is damaged in a run folder: a run sets it aside, names it and makes it again; other commands name it."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.core import task_losses
from holdfast.core.errors import DamagedError, RunFolderError
from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Condition
from holdfast.study.plan import Plan

AGAIN = "It is made again."


def mend_results(plan: Plan, run_folder: RunFolder) -> Iterator[str]:
    """Set a `results.json` aside that cannot be read, and say so. It stays if another study wrote it.

    That is known from the conditions: this study has one that the folder has not.
    """
    if not run_folder.has_results():
        return
    try:
        run_folder.results()
    except RunFolderError as error:
        if isinstance(error, DamagedError) and _has_conditions(plan, run_folder):
            yield f"{run_folder.set_aside_damaged_results(str(error))} {AGAIN}"


def _has_conditions(plan: Plan, run_folder: RunFolder) -> bool:
    return all(run_folder.condition(condition.key).folder.is_dir() for condition in plan.conditions)


def mend(plan: Plan, run_folder: RunFolder) -> Iterator[str]:
    """Set damaged lines and records of a plan's conditions aside; says of each file what was damaged.

    What they held is missing then, and the run makes what is missing.
    """
    if found := run_folder.set_aside_damaged_checks():
        yield f"{found} The judge reads its canaries and anchors again when it has answers to judge."
    for condition in plan.conditions:
        folder = run_folder.condition(condition.key)
        for found in filter(None, [*folder.set_aside_damaged(), task_losses.mend(folder)]):
            yield f"{found} {AGAIN}"
        if folder.folder.is_dir():
            write_condition(condition, run_folder)


def check(results: RunResults, run_folder: RunFolder) -> None:
    """Read every answer and verdict that results rest on, where the folder has them.

    Raises:
        DamagedError: naming the first that is damaged or missing, and how to mend it.
    """
    for condition in results.conditions:
        folder = run_folder.condition(condition.key)
        if folder.folder.is_dir():
            answers = folder.answers_to(row["id"] for row in run_folder.prompts())
            for set_name, measured in results.evaluation.sets.items():
                for judge in measured.judges:
                    folder.verdicts(set_name, judge, on=answers)


def write_condition(condition: Condition, run_folder: RunFolder) -> None:
    """Record what determines a condition, if that is not recorded yet."""
    run_folder.condition(condition.key).write_condition(
        {"name": condition.name, "key": condition.key, "training": condition.training, "asking": condition.asking}
    )
