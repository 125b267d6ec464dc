"""What a run checks before it begins: its adapters' bases, and its judges on their canaries and anchors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from holdfast.core.budget import FileBudget
from holdfast.core.config import label
from holdfast.core.errors import DataError, JudgeError
from holdfast.core.files import private_cache, read_text, write_atomically
from holdfast.core.judge_facts import AnchorCheck, JudgeCheck
from holdfast.core.protocols import Judge, Watcher
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Verdict, content_hash
from holdfast.judges.canaries import SCORES, Cases, read_cases
from holdfast.models import hub
from holdfast.models.adapters import check_base
from holdfast.study.pending import missing_verdicts
from holdfast.study.plan import Job, Plan

Verdicts = dict[str, Verdict]
"""Prompt id → verdict."""


def adapter_doubts(plan: Plan) -> list[str]:
    """What is doubtful about the adapters that conditions name: another base's name is in their configuration."""
    if plan.base.served:
        return []
    folders = dict.fromkeys(job.base.folder for job in plan.jobs)
    adapters = [folder for folder in folders if folder and hub.is_adapter(folder)]
    return [doubt for adapter in adapters if (doubt := check_base(adapter, Path(plan.base.base)))]


def check_judges(jobs: Sequence[Job], run_folder: RunFolder, budget: FileBudget, watcher: Watcher) -> None:
    """Have each judge that still has answers to judge read its canaries and anchors, and record how it did.

    Raises:
        JudgeError: a judge misreads a canary.
        DataError: a file of canaries or anchors with bad rows.
    """
    for name, judge in _judges_to_check(jobs, run_folder).items():
        watcher.note(f"The judge {name} reads its canaries and anchors first.")
        record = _check(name, judge, budget)
        if record["anchors"]["warning"]:
            watcher.note(record["anchors"]["warning"])
        run_folder.add_check(record)


def _judges_to_check(jobs: Sequence[Job], run_folder: RunFolder) -> dict[str, Judge]:
    """The judges with verdicts to give and canaries or anchors to read, by name and key."""
    wanted: dict[str, Judge] = {}
    for job in jobs:
        folders = [run_folder.condition(condition.key) for condition in job.conditions]
        for set_name, measured in job.suite.sets.items():
            for judge in measured.judges:
                if any(missing_verdicts(job.suite, folder, set_name, judge) for folder in folders):
                    wanted |= {label(each): each for each in judge.inner or (judge,)}
    return {name: judge for name, judge in wanted.items() if judge.canaries or judge.anchors}


def _check(name: str, judge: Judge, budget: FileBudget) -> dict[str, Any]:
    """How a judge did on its canaries and anchors: a line of `judges.jsonl`."""
    anchors, verdicts, canary_record = Cases(), Verdicts(), None
    if judge.canaries:
        anchors = read_cases(judge.canaries, scored=True)
        verdicts = anchors.read_by(judge, budget.of(name))
        _refuse_failed_canaries(name, judge, anchors, verdicts)
        canary_record = {"n": len(anchors.pairs), "passed": len(anchors.pairs)}
    if judge.anchors:
        anchors = read_cases(judge.anchors, scored=False)
        verdicts = anchors.read_by(judge, budget.of(name))
    drifted = asdict(drift(name, anchors, verdicts, judge.max_drift))
    return {"judge": name, "canaries": canary_record, "anchors": drifted, "models": _models(verdicts)}


def _refuse_failed_canaries(name: str, judge: Judge, canaries: Cases, verdicts: Verdicts) -> None:
    failed = [verdict for verdict in verdicts.values() if verdict.reading == "judge_error"]
    if len(failed) == len(canaries.pairs):
        raise JudgeError(
            f"the judge {name} answered none of its {len(failed)} canaries, and nothing was bought: "
            f"{failed[0].reason}. Is its server up, and its name right? `holdfast doctor` looks."
        )
    if problems := list(canaries.misread(verdicts)):
        raise JudgeError(
            f"the judge {name} misreads {len(problems)} of {len(canaries.pairs)} canaries of {judge.canaries}, "
            "so its other verdicts cannot be trusted, and none was bought:\n  " + "\n  ".join(problems) + "\n"
            "Use a more able model or other settings for it; if it failed to reply, mend that and run again. "
            "`canaries` names another file of them, or null for none."
        )


def drift(name: str, anchors: Cases, verdicts: Verdicts, max_drift: float) -> AnchorCheck:
    """How a judge's scores of its anchors differ from the first scores it gave them, which are kept in the cache.

    `mean_change` is over the anchors that have a score both times. An anchor that gained or lost its score counts as
    changed. An anchor whose verdict failed is left out, and first scores are kept only if no verdict failed.
    """
    items = content_hash([anchors.policies, [[prompt.id, answer.text] for prompt, answer in anchors.pairs]])
    path = private_cache("anchors") / f"{name}-{items[:8]}.json"
    scores = {i: verdict.score for i, verdict in verdicts.items() if verdict.reading != "judge_error"}
    now: dict[str, Any] = {"model": ", ".join(_models(verdicts)), "scores": scores}
    first = _first_reading(path, now, whole=len(scores) == len(anchors.pairs))
    both = [(first["scores"][i], score) for i, score in scores.items() if i in first["scores"]]
    changes = [abs(score - earlier) for earlier, score in both if None not in (earlier, score)]
    changed = sum(score != earlier for earlier, score in both)
    mean = sum(changes) / len(changes) if changes else 0.0
    warning = None
    if both and max(mean, changed / len(both)) > max_drift:
        names = f"; it was {first['model']!r} and is now {now['model']!r}" if first["model"] != now["model"] else ""
        warning = (
            f"the judge behind {name} has changed since it first read its anchors: {changed} of {len(both)} verdicts "
            f"differ, scores by {mean:.2f} on average{names}. Its new verdicts cannot be compared with its older ones. "
            f"To take it as it is now, delete {path.name} in the cache's `anchors`."
        )
    return AnchorCheck(len(both), changed, mean, first["model"], now["model"], warning)


def _first_reading(path: Path, now: dict[str, Any], whole: bool) -> dict[str, Any]:
    """What the judge made of its anchors the first time; if this is the first, and whole, it is kept."""
    if path.is_file():
        first = _scores_of(read_text(path))
        if first is None:
            raise DataError(
                f"{path} does not hold the scores that a judge first gave its anchors. Delete it: the scores of this "
                "run are kept in its place."
            )
        return first
    if whole:
        write_atomically(path, json.dumps(now, indent=1) + "\n")
    return now


def _scores_of(text: str) -> dict[str, Any] | None:
    """What a file of first scores holds, `model` and `scores` by prompt id; None if that is not what it holds."""
    try:
        first = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(first, dict) or not isinstance(first.get("model"), str):
        return None
    scores = first.get("scores")
    if not isinstance(scores, dict):
        return None
    right = all(score is None or (type(score) is int and score in SCORES) for score in scores.values())
    return first if right else None


def _models(verdicts: Verdicts) -> list[str]:
    """The models that gave verdicts, as their servers name them."""
    return sorted({verdict.model for verdict in verdicts.values() if verdict.model})


def models_of(judge: Judge, run_folder: RunFolder) -> list[str]:
    """The models that the server named behind a judge when the run began; none if the judge was not checked."""
    check = run_folder.checks().get(label(judge))
    return check.models if check else []


def checks(plan: Plan, run_folder: RunFolder) -> dict[str, JudgeCheck]:
    """The last check of each of the study's judges that was checked, by name and key."""
    judges = [judge for measured in plan.suite.sets.values() for judge in measured.judges]
    labels = {label(each) for judge in judges for each in judge.inner or (judge,)}
    records = run_folder.checks().items()
    return {name: JudgeCheck(record.canaries, record.anchors) for name, record in records if name in labels}
