"""How far a run's judges can be trusted: their agreement, corrected rates, what a cascade saves, and missing scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np

from holdfast.analysis import calibration
from holdfast.analysis.agreement import agree
from holdfast.analysis.stats import Array, Z
from holdfast.core.config import label
from holdfast.core.judge_facts import AgreementFigures, CascadeSaving, JudgeAgreement, RateError, Share
from holdfast.core.protocols import Judge
from holdfast.core.results import Trust
from holdfast.core.types import Condition, Estimate, Verdict
from holdfast.study.plan import Plan
from holdfast.study.results.evidence import Evidence

SET = "harmfulness"


def _distinct_conditions(evidence: Evidence) -> list[Condition]:
    """Conditions with answers of their own: of those that share a key, the first."""
    first: dict[str, Condition] = {}
    for condition in evidence.plan.conditions:
        first.setdefault(condition.key, condition)
    return list(first.values())


def agreement(evidence: Evidence) -> list[JudgeAgreement]:
    """For each pair of judges of a set, how far they agree over all conditions and in each category."""
    return [
        _agreement(evidence, set_name, first, second)
        for set_name, measured in evidence.plan.suite.sets.items()
        for first, second in combinations(measured.judges, 2)
    ]


def _agreement(evidence: Evidence, set_name: str, first: Judge, second: Judge) -> JudgeAgreement:
    conditions, benchmark = _distinct_conditions(evidence), evidence.plan.suite.benchmarks[set_name]
    one, two = (
        np.concatenate([evidence.scores(condition, set_name, judge) for condition in conditions])
        for judge in (first, second)
    )
    prompt_numbers = np.tile(np.arange(len(benchmark.prompts)), len(conditions))
    categories = np.tile([prompt.category for prompt in benchmark.prompts], len(conditions))
    by_category = {}
    for category in benchmark.categories:
        here = categories == category
        figures = asdict(agree(one[here], two[here], prompt_numbers[here]))
        del figures["confusion"]
        by_category[category] = AgreementFigures(**figures)
    overall = asdict(agree(one, two, prompt_numbers))
    return JudgeAgreement(set_name, label(first), label(second), **overall, by_category=by_category)


def calibration_key(plan: Plan) -> str | None:
    """The hash of the calibration that rates are corrected with, if there is one."""
    calibrated = plan.suite.sets[SET].calibrated
    return calibrated.key if calibrated else None


def corrected(evidence: Evidence, seeds: Sequence[Condition], raw: Estimate) -> Estimate | None:
    """The harmfulness rate of a condition's seeds with the judge's errors taken out; None without a calibration."""
    calibrated = evidence.plan.suite.sets[SET].calibrated
    if calibrated is None:
        return None
    prompts = evidence.plan.suite.benchmarks[SET].prompts
    labels: list[float] = []
    scores: list[Array] = []
    for condition in {seed.key: seed for seed in seeds}.values():
        answers = evidence.run_folder.condition(condition.key).answers()
        hashes = (calibration.answer_hash(prompt.text, answers[prompt.id].text) for prompt in prompts)
        labels += [calibrated.labelled.get(name, np.nan) for name in hashes]
        scores.append(evidence.scores(condition, SET, evidence.judge(SET)))
    return calibrated.correct(raw, np.array(labels, dtype=float), np.concatenate(scores))


def trust_of(evidence: Evidence, condition: Condition) -> Trust:
    """Whether enough of a condition's harmfulness prompts have a score for its figures to be trusted."""
    scores = evidence.scores(condition, SET, evidence.judge(SET))
    missing, allowed = int(np.isnan(scores).sum()), evidence.plan.study.evaluate.max_missing
    if missing <= allowed * scores.size:
        return Trust(ok=True)
    reason = (
        f"{missing} of {scores.size} prompts have no score ({100 * missing / scores.size:.1f} %), more than the "
        f"{100 * allowed:g} % that `max_missing` allows"
    )
    return Trust(False, (reason,))


def trust(evidence: Evidence) -> Trust:
    """Whether every condition can be trusted, and for each that cannot, why."""
    reasons = [
        f"{condition.name}, seed {condition.seed}: {reason}"
        for condition in evidence.plan.conditions
        for reason in trust_of(evidence, condition).reasons
    ]
    return Trust(not reasons, tuple(reasons))


def cascades(evidence: Evidence) -> list[CascadeSaving]:
    """For each cascade, who decided how many answers, what that saved and what it costs in error."""
    savings = []
    for set_name, measured in evidence.plan.suite.sets.items():
        for judge in measured.judges:
            if judge.kind == "cascade":
                savings.append(_saving(set_name, label(judge), _verdicts(evidence, set_name, judge)))
    return savings


def _verdicts(evidence: Evidence, set_name: str, judge: Judge) -> list[Verdict]:
    """A judge's verdicts on a set over all conditions."""
    ids = {prompt.id for prompt in evidence.plan.suite.benchmarks[set_name].prompts}
    verdicts: list[Verdict] = []
    for condition in _distinct_conditions(evidence):
        verdicts += evidence.run_folder.condition(condition.key).verdicts(set_name, label(judge)).values()
    return [verdict for verdict in verdicts if verdict.prompt_id in ids]


def _saving(set_name: str, judge: str, verdicts: Sequence[Verdict]) -> CascadeSaving:
    """Counts, the share of costly calls saved in percent, and the error of the rate in points.

    The error is that of the cheap judge's unchecked 5s, estimated from the random share of its decisions that the
    costly judge read too, with half an answer added to each cell of their table (Agresti & Min 2005).
    """
    by = Counter(verdict.by for verdict in verdicts)
    audited = [(v.first == 5, v.score == 5) for v in verdicts if v.by == "audit" and v.score is not None]
    more, fewer = audited.count((True, False)), audited.count((False, True))
    n, m = len(verdicts), len(audited)
    error = None
    if m:
        gap = (more - fewer) / (m + 2)
        half = Z * float(np.sqrt(((more + fewer + 1) / (m + 2) - gap**2) / (m + 2)))
        unchecked = 100.0 * by["first"] / n
        value = (more - fewer) / m
        low, high = max(-1.0, min(value, gap - half)), min(1.0, max(value, gap + half))
        error = RateError(unchecked * value, unchecked * low, unchecked * high)
    saved = 100.0 * by["first"] / n if n else None
    disagree = Share(**asdict(calibration.Share.of(more + fewer, m)))
    return CascadeSaving(set_name, judge, n, by["first"], by["then"], by["audit"], saved, disagree, error)
