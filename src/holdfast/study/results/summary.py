"""What is in a run folder → `results.json`. docs/results.md explains the fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from holdfast.analysis import broken, stats
from holdfast.analysis.cautions import cautions
from holdfast.analysis.degeneration import loops
from holdfast.core import task_losses
from holdfast.core.budget import FileBudget
from holdfast.core.config import label
from holdfast.core.judge_facts import JudgeCheck
from holdfast.core.protocols import Judge
from holdfast.core.results import (
    SCHEMA,
    ConditionResult,
    HarmfulnessFigures,
    RunResults,
    Sensitivity,
    Summary,
    TaskFigure,
)
from holdfast.core.run_facts import Ended
from holdfast.core.run_folder import ConditionFolder, RunFolder
from holdfast.core.types import OUTCOMES, READINGS, Benchmark, Comparison, Condition, Estimate
from holdfast.core.version import __version__
from holdfast.study.eval_setting import eval_setting_of, initial_name
from holdfast.study.plan import Plan
from holdfast.study.results import facts, judge_quality
from holdfast.study.results.costs import spent
from holdfast.study.results.evidence import METRICS, Evidence

Estimator = Callable[[str, stats.Array], Estimate]
"""Metric and scores → figure."""


def summarise(plan: Plan, run_folder: RunFolder, budget: FileBudget, checks: dict[str, JudgeCheck]) -> RunResults:
    """The figures of a finished run; `checks` says how its judges did on their canaries and anchors."""
    evidence = Evidence(plan, run_folder)
    names = list(dict.fromkeys(condition.name for condition in plan.conditions))
    measured = list(dict.fromkeys(condition.name for condition in evidence.plan.conditions))
    results = RunResults(
        schema=SCHEMA,
        evidence=facts.evidence_key(plan),
        study=plan.study.name,
        holdfast=__version__,
        environment=facts.environment(),
        model=facts.model_facts(plan),
        seeds=plan.seeds,
        evaluation=facts.evaluation(plan),
        settings={name: facts.condition_facts(plan, run_folder, name) for name in names},
        conditions=tuple(_condition(evidence, condition) for condition in evidence.plan.conditions),
        summary=tuple(_summary(evidence, name) for name in measured),
        comparisons=tuple(_comparisons(evidence)),
        sensitivity=tuple(_sensitivity(evidence)),
        agreement=tuple(judge_quality.agreement(evidence)),
        cascade=tuple(judge_quality.cascades(evidence)),
        trust=judge_quality.trust(evidence),
        cautions=(),
        costs=spent(plan, run_folder, budget),
        judges=checks,
        timings=_timings(plan, run_folder),
        ended=tuple(_ended(run_folder, condition) for condition in evidence.ended),
        authorisation=plan.study.authorisation,
    )
    return replace(results, cautions=cautions(results))


def _condition(evidence: Evidence, condition: Condition) -> ConditionResult:
    """One condition of one seed: outcomes, verdicts and figures."""
    folder = evidence.run_folder.condition(condition.key)
    benchmark = evidence.plan.suite.benchmarks["harmfulness"]
    judge, *others = evidence.plan.suite.sets["harmfulness"].judges

    def scores(set_name: str) -> stats.Array:
        return evidence.scores(condition, set_name, evidence.judge(set_name))

    figures = _figures(evidence, scores, stats.estimate)
    return ConditionResult(
        name=condition.name,
        seed=condition.seed,
        key=condition.key,
        role=condition.role,
        ask=condition.ask,
        decoding=condition.decoding,
        n_prompts=len(benchmark.prompts),
        outcomes=_outcomes(folder, benchmark),
        verdicts=_readings(folder, benchmark, judge),
        fives=_fives(folder, benchmark, judge),
        **figures,
        harmfulness_rate_corrected=judge_quality.corrected(evidence, [condition], figures["harmfulness_rate"]),
        trust=judge_quality.trust_of(evidence, condition),
        by_category=_by_category(benchmark, scores("harmfulness"), stats.estimate),
        other_judges={
            label(other): _harmfulness(evidence.scores(condition, "harmfulness", other), stats.estimate)
            for other in others
        },
        task=_task(evidence, condition),
        broken=_broken(evidence, condition),
    )


def _task(evidence: Evidence, condition: Condition) -> TaskFigure | None:
    """How likely the model finds the held-out rows of its task, before and after tuning."""
    plan = evidence.plan
    task = plan.tasks.get((condition.name, condition.seed))
    if task is None:
        return None
    against = initial_name(plan.study, eval_setting_of(plan.study, plan.study.conditions[condition.name]))
    initial = next(each for each in plan.conditions if (each.name, each.seed) == (against, condition.seed))
    losses = [task_losses.read(evidence.run_folder.condition(each.key))[task.key] for each in (initial, condition)]
    before, after = losses
    if after.mean is None:
        return None
    n = len(after.tokens)
    exact = None if after.exact is None else 100.0 * after.exact / n
    return TaskFigure(n, before.mean, after.mean, exact)


def _broken(evidence: Evidence, condition: Condition) -> float:
    """Percent of all answers that are broken, by their text."""
    answers = evidence.run_folder.condition(condition.key).answers()
    asked = [answers[name] for name in evidence.plan.suite.prompts]
    return 100.0 * sum(bool(broken.kind(answer, None, None)) for answer in asked) / len(asked)


def _ended(run_folder: RunFolder, condition: Condition) -> Ended:
    """A condition of which a provider gave no model."""
    record: Any = run_folder.condition(condition.key).training()
    about, message = record.get("about", ""), str(record.get("message", ""))
    return Ended(condition.name, condition.seed, condition.key, record["outcome"], about, message)


def _summary(evidence: Evidence, name: str) -> Summary:
    """One condition over its seeds."""
    benchmark = evidence.plan.suite.benchmarks["harmfulness"]
    seeds = [condition for condition in evidence.plan.conditions if condition.name == name]

    def scores(set_name: str) -> stats.Array:
        return evidence.seeds(name, set_name)

    figures = _figures(evidence, scores, stats.pooled)
    return Summary(
        name=name,
        role=seeds[0].role,
        n_seeds=len(seeds),
        **figures,
        harmfulness_rate_corrected=judge_quality.corrected(evidence, seeds, figures["harmfulness_rate"]),
        by_category=_by_category(benchmark, scores("harmfulness"), stats.pooled),
    )


def _figures(evidence: Evidence, scores: Callable[[str], stats.Array], estimator: Estimator) -> dict[str, Any]:
    """Every metric's figure, or None where the study does not measure it."""
    figures: dict[str, Any] = dict.fromkeys(METRICS)
    for metric, set_name in evidence.metrics().items():
        figures[metric] = estimator(metric, scores(set_name))
    return figures


def _harmfulness(scores: stats.Array, estimator: Estimator) -> HarmfulnessFigures:
    return HarmfulnessFigures(estimator("harmfulness_score", scores), estimator("harmfulness_rate", scores))


def _by_category(benchmark: Benchmark, scores: stats.Array, estimator: Estimator) -> dict[str, HarmfulnessFigures]:
    """Both harmfulness figures of each category; the last axis of `scores` is the prompts."""
    categories = np.array([prompt.category for prompt in benchmark.prompts])
    return {name: _harmfulness(scores[..., categories == name], estimator) for name in benchmark.categories}


def _outcomes(folder: ConditionFolder, benchmark: Benchmark) -> dict[str, int]:
    answers = folder.answers()
    counts = Counter(answers[prompt.id].outcome for prompt in benchmark.prompts)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def _readings(folder: ConditionFolder, benchmark: Benchmark, judge: Judge) -> dict[str, int]:
    verdicts = folder.verdicts("harmfulness", label(judge))
    counts = Counter(verdicts[prompt.id].reading for prompt in benchmark.prompts if prompt.id in verdicts)
    return {reading: counts[reading] for reading in READINGS}


def _fives(folder: ConditionFolder, benchmark: Benchmark, judge: Judge) -> dict[str, int]:
    """How many answers scored 5, apart by whether the answer is whole, was cut off or repeats itself."""
    answers, verdicts = folder.answers(), folder.verdicts("harmfulness", label(judge))
    counts = {"whole": 0, "cut_off": 0, "looping": 0}
    for prompt in benchmark.prompts:
        verdict = verdicts.get(prompt.id)
        if verdict is not None and verdict.score == 5:
            answer = answers[prompt.id]
            looping = "looping" if loops(answer.text) else "whole"
            counts["cut_off" if answer.outcome == "truncated" else looping] += 1
    return counts


def _comparisons(evidence: Evidence) -> list[Comparison]:
    """Each tuned condition against the initial model asked in the same setting; none where no pair has scores."""
    study, comparisons = evidence.plan.study, []
    measured = {condition.name for condition in evidence.plan.conditions}
    for name, settings in study.conditions.items():
        if name not in measured:
            continue
        against = initial_name(study, eval_setting_of(study, settings))
        for metric, set_name in evidence.metrics().items():
            initial, tuned = evidence.seeds(against, set_name), evidence.seeds(name, set_name)
            if np.isfinite(initial + tuned).any():
                comparisons.append(replace(stats.compare(name, metric, initial, tuned), against=against))
    return comparisons


def _sensitivity(evidence: Evidence) -> list[Sensitivity]:
    """How much of the rate's variance each factor explains, over the conditions that name their factors' levels."""
    measured = {condition.name for condition in evidence.plan.conditions}
    every = evidence.plan.study.conditions.items()
    factors = {name: each.factors for name, each in every if each.factors and name in measured}
    if len(factors) < 2:
        return []
    shares = stats.variance_shares([evidence.seeds(name, "harmfulness") for name in factors], list(factors.values()))
    return [Sensitivity(name, *share) for name, share in shares.items()]


def _timings(plan: Plan, run_folder: RunFolder) -> dict[str, float]:
    """Condition key → seconds of tuning. Beside costs, this alone differs between equal runs."""
    records = {condition.key: run_folder.condition(condition.key).training() for condition in plan.conditions}
    return {key: round(record["seconds"], 3) for key, record in records.items() if record}
