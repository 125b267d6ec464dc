"""What a run says of its judges: their agreement, corrected rates, a cascade's saving, and whether to trust it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from holdfast.analysis.agreement import agree
from holdfast.analysis.calibration import Share, answer_hash
from holdfast.analysis.stats import Array, Z
from holdfast.core.config import label
from holdfast.core.protocols import Judge
from holdfast.core.types import Condition, Estimate, Verdict
from holdfast.study.plan import Plan
from holdfast.study.results.evidence import Evidence

SET = "harmfulness"


def _once(evidence: Evidence) -> list[Condition]:
    """Conditions with distinct answers: those that share a key are one."""
    return list({condition.key: condition for condition in reversed(evidence.plan.conditions)}.values())[::-1]


def agreement(evidence: Evidence) -> list[dict[str, Any]]:
    """For each pair of judges of a set, how far they agree over all conditions and in each category."""
    found = []
    conditions = _once(evidence)
    for name, measured in evidence.plan.suite.sets.items():
        prompts = evidence.plan.suite.benchmarks[name].prompts
        units = np.tile(np.arange(len(prompts)), len(conditions))
        categories = np.tile([prompt.category for prompt in prompts], len(conditions))
        for first, second in combinations(measured.judges, 2):
            one, two = (
                np.concatenate([evidence.scores(condition, name, judge) for condition in conditions])
                for judge in (first, second)
            )
            by_category = {}
            for category in dict.fromkeys(prompt.category for prompt in prompts):
                here = categories == category
                by_category[category] = asdict(agree(one[here], two[here], units[here]))
                del by_category[category]["confusion"]
            pair = {"set": name, "first": label(first), "second": label(second)}
            found.append({**pair, **asdict(agree(one, two, units)), "by_category": by_category})
    return found


def calibration_key(plan: Plan) -> str | None:
    """The hash of the calibration that rates are corrected with, if there is one."""
    found = plan.suite.sets[SET].calibrated
    return found.key if found else None


def corrected(evidence: Evidence, seeds: Sequence[Condition], raw: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The harmfulness rate of a condition's seeds with the judge's errors taken out; None without a calibration."""
    calibration = evidence.plan.suite.sets[SET].calibrated
    if calibration is None or raw is None:
        return None
    prompts = evidence.plan.suite.benchmarks[SET].prompts
    labels: list[float] = []
    scores: list[Array] = []
    for condition in {seed.key: seed for seed in seeds}.values():
        answers = evidence.store.condition(condition.key).answers()
        hashes = (answer_hash(prompt.text, answers[prompt.id].text) for prompt in prompts)
        labels += [calibration.labelled.get(name, np.nan) for name in hashes]
        scores.append(evidence.scores(condition, SET, evidence.judge(SET)))
    return asdict(calibration.correct(Estimate(**raw), np.array(labels, dtype=float), np.concatenate(scores)))


def trust_of(evidence: Evidence, condition: Condition) -> dict[str, Any]:
    """Whether so many of a condition's harmfulness prompts have a score that its figures can be trusted, or why not."""
    scores = evidence.scores(condition, SET, evidence.judge(SET))
    missing, most = int(np.isnan(scores).sum()), evidence.plan.study.evaluate.max_missing
    if missing <= most * scores.size:
        return {"ok": True, "reasons": []}
    reason = (
        f"{missing} of {scores.size} prompts have no score ({100 * missing / scores.size:.1f} %), more than the "
        f"{100 * most:g} % that `max_missing` allows"
    )
    return {"ok": False, "reasons": [reason]}


def trust(evidence: Evidence) -> dict[str, Any]:
    """Whether every condition can be trusted, and for each that cannot, why."""
    reasons = [
        f"{condition.name}, seed {condition.seed}: {reason}"
        for condition in evidence.plan.conditions
        for reason in trust_of(evidence, condition)["reasons"]
    ]
    return {"ok": not reasons, "reasons": reasons}


def cascades(evidence: Evidence) -> list[dict[str, Any]]:
    """For each cascade, who decided how many answers, what that saved and what it costs in error."""
    found = []
    for name, measured in evidence.plan.suite.sets.items():
        for judge in measured.judges:
            if judge.kind == "cascade":
                found.append({"set": name, "judge": label(judge), **_saving(_verdicts(evidence, name, judge))})
    return found


def _verdicts(evidence: Evidence, name: str, judge: Judge) -> list[Verdict]:
    asked = {prompt.id for prompt in evidence.plan.suite.benchmarks[name].prompts}
    places = (evidence.store.condition(condition.key) for condition in _once(evidence))
    return [v for place in places for v in place.verdicts(name, label(judge)).values() if v.prompt_id in asked]


def _saving(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Counts, the share of costly calls saved in percent, and the error of the rate in points.

    The error is that of the cheap judge's unchecked 5s, estimated from the random share of its decisions that the
    costly judge read too, with half an answer added to each cell of their table (Agresti & Min 2005).
    """
    by = Counter(verdict.by for verdict in verdicts)
    checked = [(v.first == 5, v.score == 5) for v in verdicts if v.by == "audit" and v.score is not None]
    more, fewer = checked.count((True, False)), checked.count((False, True))
    n, m = len(verdicts), len(checked)
    error = None
    if m:
        gap = (more - fewer) / (m + 2)
        half = Z * float(np.sqrt(((more + fewer + 1) / (m + 2) - gap**2) / (m + 2)))
        unchecked = 100.0 * by["first"] / n
        value = (more - fewer) / m
        ends = value, max(-1.0, min(value, gap - half)), min(1.0, max(value, gap + half))
        error = dict(zip(("value", "low", "high"), (unchecked * end for end in ends), strict=True))
    return {
        "n": n, "first": by["first"], "then": by["then"], "audited": by["audit"],
        "saved": 100.0 * by["first"] / n if n else None,
        "disagree": asdict(Share.of(more + fewer, m)),
        "rate_error": error,
    }  # fmt: skip
