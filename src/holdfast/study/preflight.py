"""Judges on trial, and what they are paid for: canaries and anchors before a run, and verdicts by way of the book."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.core.budget import FileLedger
from holdfast.core.config import label
from holdfast.core.errors import JudgeError
from holdfast.core.files import cache, write_atomically
from holdfast.core.protocols import Judge, Watcher
from holdfast.core.run_folder import Store
from holdfast.core.types import Verdict, content_hash
from holdfast.judges.canaries import Cases, read_cases
from holdfast.study.plan import Plan, Work
from holdfast.study.results.summary import is_judged


def check_judges(works: Sequence[Work], store: Store, ledger: FileLedger, watcher: Watcher) -> None:
    """Have each judge that will be paid read its canaries and anchors, and record how it did.

    Raises:
        JudgeError: a judge misreads a canary.
        DataError: a file of canaries or anchors with bad rows.
    """
    wanted = {
        label(asked): asked
        for work in works
        for name, measured in work.asked.sets.items()
        for judge in measured.judges
        if not all(is_judged(work, each, store, {name: [judge]}) for each in work.conditions)
        for asked in judge.inner or (judge,)
        if asked.canaries or asked.anchors
    }
    for name, judge in wanted.items():
        watcher.note(f"The judge {name} reads its canaries and anchors first.")
        record: dict[str, Any] = {"judge": name, "canaries": None, "anchors": None}
        canaries, read = Cases(), dict[str, Verdict]()
        if judge.canaries:
            canaries = read_cases(judge.canaries, scored=True)
            read = canaries.read_by(judge, ledger.of(name))
            failed = [verdict for verdict in read.values() if verdict.reading == "judge_error"]
            if len(failed) == len(canaries.pairs):
                raise JudgeError(
                    f"the judge {name} answered none of its {len(failed)} canaries, and nothing was bought: "
                    f"{failed[0].reason}. Is its server up, and its name right? `holdfast doctor` looks."
                )
            if problems := list(canaries.misread(read)):
                raise JudgeError(
                    f"the judge {name} misreads {len(problems)} of {len(canaries.pairs)} canaries of {judge.canaries}, "
                    "so its other verdicts cannot be trusted, and none was bought:\n  " + "\n  ".join(problems) + "\n"
                    "Use a more able model or other settings for it; if it failed to reply, mend that and run again. "
                    "`canaries` names another file of them, or null for none."
                )
            record["canaries"] = {"n": len(canaries.pairs), "passed": len(canaries.pairs)}
        anchors = canaries
        if judge.anchors:
            anchors = read_cases(judge.anchors, scored=False)
            read = anchors.read_by(judge, ledger.of(name))
        record["models"] = sorted({verdict.model for verdict in read.values() if verdict.model})
        record["anchors"] = drift(name, anchors, read, judge.max_drift)
        if record["anchors"]["warning"]:
            watcher.note(record["anchors"]["warning"])
        store.add_check(record)


def drift(name: str, anchors: Cases, read: Mapping[str, Verdict], max_drift: float) -> dict[str, Any]:
    """How a judge's scores of its anchors differ from those it gave when it first read them, which are kept.

    `mean_change` is over the anchors that have a score both times; an anchor that gained or lost one has `changed`;
    one whose verdict failed is left out, and nothing is kept of a first time on which one did.
    """
    items = content_hash([anchors.policies, [[prompt.id, answer.text] for prompt, answer in anchors.pairs]])
    path = cache() / "anchors" / f"{name}-{items[:8]}.json"
    told = {i: verdict.score for i, verdict in read.items() if verdict.reading != "judge_error"}
    model = ", ".join(sorted({verdict.model for verdict in read.values() if verdict.model}))
    frozen: dict[str, Any] = {"model": model, "scores": told}
    if path.is_file():
        frozen = json.loads(path.read_text(encoding="utf-8"))
    elif len(told) == len(anchors.pairs):
        write_atomically(path, json.dumps(frozen, indent=1) + "\n")
    both = [(frozen["scores"][i], score) for i, score in told.items() if i in frozen["scores"]]
    changes = [abs(now - then) for then, now in both if None not in (then, now)]
    changed = sum(now != then for then, now in both)
    mean = sum(changes) / len(changes) if changes else 0.0
    warning = None
    if both and max(mean, changed / len(both)) > max_drift:
        names = f"; it was {frozen['model']!r} and is now {model!r}" if frozen["model"] != model else ""
        warning = (
            f"the judge behind {name} has changed since it first read its anchors: {changed} of {len(both)} verdicts "
            f"differ, scores by {mean:.2f} on average{names}. Its new verdicts cannot be compared with its older ones. "
            f"To take it as it is now, delete {path.name} in the cache's `anchors`."
        )
    return {
        "n": len(both),
        "changed": changed,
        "mean_change": mean,
        "model_then": frozen["model"],
        "model_now": model,
        "warning": warning,
    }


def models_of(judge: Judge, store: Store) -> list[str]:
    """The models that the server reported behind a judge's name when the run was begun; none if it was not asked."""
    return list(store.checks().get(label(judge), {}).get("models", ()))


def checks(plan: Plan, store: Store) -> dict[str, Any]:
    """The last check of each of the study's judges that was checked, by name and key."""
    judges = [judge for measured in plan.asked.sets.values() for judge in measured.judges]
    labels = {label(asked) for judge in judges for asked in judge.inner or (judge,)}
    found = store.checks()
    return {name: {"canaries": c["canaries"], "anchors": c["anchors"]} for name, c in found.items() if name in labels}
