"""Another study in the folder of a finished run: what differs, and how the earlier results are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from holdfast.core.errors import DataError, RunFolderError
from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.core.yaml_text import read_yaml
from holdfast.study.plan import Plan
from holdfast.study.results.facts import environment, evidence_key

RESOLVED = "study.resolved.yaml"

HEADER = "# Every setting of this run. File names are relative to the folder in which the run was started.\n"

LISTED = 10
"""How many changes an error names."""

ABSENT = object()


def resolved_study(plan: Plan) -> str:
    """A study as YAML with every setting: defaults, shared settings, the conditions of grids, and the run's seeds."""
    settings = plan.study.model_dump(mode="json", exclude_none=True)
    settings["seeds"] = list(plan.seeds)
    for condition in settings["conditions"].values():
        if "checkpoint" in condition:  # it is tuned already, and a study may not say how
            del condition["tune"], condition["defence"]
    return HEADER + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def make_room(plan: Plan, run_folder: RunFolder, replace: bool) -> Path | None:
    """Keep the results of another study from being lost: refuse, or with `replace` move them to `previous/`.

    Results of the same study stay in place; settings that change no figure, such as labels, may differ.

    Returns:
        The folder that they were moved to, if they were.

    Raises:
        RunFolderError: the folder holds the results of another study; names what differs and how to go on.
    """
    if not run_folder.has_results():
        return None
    try:
        changes = differences(run_folder.results(), plan, run_folder)
    except RunFolderError as error:
        changes = [str(error)]
    if not changes:
        return None
    if replace:
        return run_folder.set_aside()
    more = [f"and {len(changes) - LISTED} more"] if len(changes) > LISTED else []
    raise RunFolderError(
        f"{run_folder.folder} holds the results of another study. What differs:\n  "
        + "\n  ".join([*changes[:LISTED], *more])
        + "\nName another folder with --out. Or use --replace: answers and verdicts that both studies need are used "
        f"again, and the earlier results are kept in {run_folder.folder / 'previous'}."
    )


def differences(before: RunResults, plan: Plan, run_folder: RunFolder) -> list[str]:
    """What changes the figures between the study that a folder has results of and a plan, one line for each change."""
    if before.evidence == evidence_key(plan):
        return []
    lines = _changed_settings(plan, run_folder)
    lines += _changed_files(before, plan, known=bool(lines))
    now = environment()
    names = dict.fromkeys([*before.environment, *now])
    lines += [
        f"environment.{name}: {_change(before.environment.get(name, ABSENT), now.get(name, ABSENT))}"
        for name in names
        if before.environment.get(name) != now.get(name)
    ]
    return lines or ["the content of a file that the study names, such as its calibration"]


def _changed_settings(plan: Plan, run_folder: RunFolder) -> list[str]:
    """A line for each setting that differs."""
    path = run_folder.folder / RESOLVED
    if not path.is_file():
        return []
    try:
        before = read_yaml(path)
    except DataError as error:
        return [f"{error} So the settings cannot be compared"]
    after = yaml.safe_load(resolved_study(plan))
    return [f"{name}: {_change(*values)}" for name, *values in _walk(before, after)]


def _walk(before: Any, after: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, earlier and later value of each entry in which two nested values differ."""
    if isinstance(before, list) and isinstance(after, list):
        before, after = dict(enumerate(before)), dict(enumerate(after))
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{name}.{key}" if name else str(key)
            yield from _walk(before.get(key, ABSENT), after.get(key, ABSENT), inner)
    elif before != after:
        yield name, before, after


def _change(before: Any, after: Any) -> str:
    if before is ABSENT:
        return "added"
    return "removed" if after is ABSENT else f"{_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _changed_files(before: RunResults, plan: Plan, known: bool) -> list[str]:
    """Files with another content than before. Rows are named only where no other change is `known` to explain them."""
    lines = []
    if before.model.name == plan.study.model and before.model.fingerprint != plan.fingerprint:
        lines.append("model: its files have changed")
    for name, benchmark in plan.suite.benchmarks.items():
        if name in before.evaluation.sets and before.evaluation.sets[name].key != benchmark.key:
            lines.append(f"evaluate.{name}: its prompts have changed")
    if not lines and not known:
        keys = {(condition.name, condition.seed): condition.key for condition in before.conditions}
        changed = [c.name for c in plan.conditions if keys.get((c.name, c.seed), c.key) != c.key]
        lines += [f"conditions.{name}: its rows or its checkpoint have changed" for name in dict.fromkeys(changed)]
    return lines
