"""What is in a run folder → `results.json`. The schema is documented in docs/results.md."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from holdfast import __version__
from holdfast.analysis import stats
from holdfast.core.config import label
from holdfast.core.protocols import Judge
from holdfast.core.run_folder import ConditionFolder, Store
from holdfast.core.types import OUTCOMES, READINGS, Benchmark, Condition, content_hash
from holdfast.models import loading
from holdfast.study.plan import Plan, eval_setting_of, initial_name, template_of
from holdfast.study.results import judge_quality
from holdfast.study.results.evidence import METRICS, Evidence

SCHEMA = 1
"""Raised when a field of `results.json` changes its meaning or goes away."""

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "numpy")


def summarise(plan: Plan, store: Store) -> dict[str, Any]:
    """The figures of a finished run: all of `results.json`."""
    evidence = Evidence(plan, store)
    names = list(dict.fromkeys(condition.name for condition in plan.conditions))
    return {
        "schema": SCHEMA,
        "evidence": evidence_key(plan),
        "study": plan.study.name,
        "holdfast": __version__,
        "environment": _environment(),
        "model": _model(plan),
        "seeds": list(plan.seeds),
        "evaluation": _evaluation(plan),
        "settings": {name: _settings(plan, store, name) for name in names},
        "conditions": [_condition(evidence, condition) for condition in plan.conditions],
        "summary": [_summary(evidence, name) for name in names],
        "comparisons": _comparisons(evidence),
        "sensitivity": _sensitivity(evidence),
        "agreement": judge_quality.agreement(evidence),
        "cascade": judge_quality.cascades(evidence),
        "trust": judge_quality.trust(evidence),
        "timings": _timings(plan, store),
    }


def evidence_key(plan: Plan) -> str:
    """The hash of everything that a finished run's figures follow from: equal keys, equal `results.json`."""
    judges = {name: [label(judge) for judge in measured.judges] for name, measured in plan.suite.sets.items()}
    conditions = [[condition.name, condition.seed, condition.key] for condition in plan.conditions]
    notes = {name: benchmark.notes for name, benchmark in plan.suite.benchmarks.items()}
    shown = [[name, settings.label, settings.factors] for name, settings in plan.study.conditions.items()]
    trusted = [plan.study.evaluate.max_missing, judge_quality.calibration_key(plan)]
    study = [plan.study.name, plan.study.model]
    return content_hash([SCHEMA, _environment(), *study, judges, notes, conditions, shown, trusted])


def _environment() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in LIBRARIES}
    versions["holdfast"] = __version__
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}


def _model(plan: Plan) -> dict[str, Any]:
    """What the initial model is and how it is spoken to; of a served one, only its name is known."""
    facts: dict[str, Any] = {"architecture": "served", "stand_in": False, "chat": None}
    if not plan.base.served:
        facts = {**loading.describe(Path(plan.base.base)), "chat": loading.describe_chat(loading.load_chat(plan.base))}
    return {"name": plan.study.model, **facts, "fingerprint": plan.fingerprint}


def _evaluation(plan: Plan) -> dict[str, Any]:
    sets = {
        name: {
            "benchmark": plan.suite.benchmarks[name].name,
            "n_prompts": len(plan.suite.benchmarks[name].prompts),
            "key": plan.suite.benchmarks[name].key,
            "judges": [label(judge) for judge in measured.judges],
            "notes": list(plan.suite.benchmarks[name].notes),
        }
        for name, measured in plan.suite.sets.items()
    }
    return {
        "sets": sets,
        "categories": list(plan.suite.benchmarks["harmfulness"].categories),
        "generate": plan.study.generate.model_dump(mode="json"),
        "decodings": {name: generator.model_dump(mode="json") for name, generator in plan.study.decodings.items()},
        "templates": {name: settings.model_dump() for name, settings in plan.study.templates.items()},
    }


def _settings(plan: Plan, store: Store, name: str) -> dict[str, Any]:
    """The exact settings of a condition, and what its training was like for each seed."""
    conditions = [condition for condition in plan.conditions if condition.name == name]
    settings = plan.study.conditions.get(name)
    if settings is None:
        first = conditions[0]
        way = {"ask": first.ask, "decoding": first.decoding}
        return {"role": "initial", "label": None, **way, "keys": [c.key for c in conditions]}
    records = [store.condition(condition.key).training() or {} for condition in conditions]
    return {
        "role": "tuned",
        "label": settings.label,
        "template": template_of(plan.study, settings),
        "ask": conditions[0].ask,
        "decoding": conditions[0].decoding,
        "factors": settings.factors,
        "keys": [condition.key for condition in conditions],
        "checkpoint": settings.checkpoint,
        "data": settings.data.model_dump(mode="json") if settings.data else None,
        "accounts": [{**asdict(account), "kept": account.kept} for account in plan.accounts.get(name, ())],
        "defence": [defence.model_dump(mode="json") for defence in settings.defence],
        "tune": settings.tune.model_dump(mode="json") if settings.data else None,
        "training": [{field: value for field, value in record.items() if field != "seconds"} for record in records],
    }


def _condition(evidence: Evidence, condition: Condition) -> dict[str, Any]:
    """One condition of one seed: outcomes, verdicts and figures."""
    place = evidence.store.condition(condition.key)
    benchmark = evidence.plan.suite.benchmarks["harmfulness"]
    judge = evidence.judge("harmfulness")
    scores = evidence.scores(condition, "harmfulness", judge)
    metrics = evidence.metrics()
    figures: dict[str, Any] = dict.fromkeys(METRICS)
    for metric, measured in metrics.items():
        figures[metric] = asdict(stats.estimate(metric, evidence.scores(condition, measured, evidence.judge(measured))))
    return {
        "name": condition.name,
        "seed": condition.seed,
        "key": condition.key,
        "role": condition.role,
        "ask": condition.ask,
        "decoding": condition.decoding,
        "n_prompts": len(benchmark.prompts),
        "outcomes": _outcomes(place, benchmark),
        "verdicts": _readings(place, benchmark, judge),
        **figures,
        "harmfulness_rate_corrected": judge_quality.corrected(evidence, [condition], figures["harmfulness_rate"]),
        "trust": judge_quality.trust_of(evidence, condition),
        "by_category": _by_category(benchmark, scores),
        "other_judges": {
            label(other): {
                metric: asdict(stats.estimate(metric, evidence.scores(condition, "harmfulness", other)))
                for metric in ("harmfulness_score", "harmfulness_rate")
            }
            for other in evidence.plan.suite.sets["harmfulness"].judges[1:]
        },
    }


def _outcomes(place: ConditionFolder, benchmark: Benchmark) -> dict[str, int]:
    answers = place.answers()
    counts = Counter(answers[prompt.id].outcome for prompt in benchmark.prompts)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def _readings(place: ConditionFolder, benchmark: Benchmark, judge: Judge) -> dict[str, int]:
    verdicts = place.verdicts("harmfulness", label(judge))
    counts = Counter(verdicts[prompt.id].reading for prompt in benchmark.prompts if prompt.id in verdicts)
    return {reading: counts[reading] for reading in READINGS}


def _by_category(benchmark: Benchmark, scores: stats.Array) -> dict[str, Any]:
    """Both harmfulness figures of each category; `scores` has shape [prompts] or [seeds, prompts]."""
    figure = stats.estimate if scores.ndim == 1 else stats.pooled
    places = {
        category: [i for i, prompt in enumerate(benchmark.prompts) if prompt.category == category]
        for category in benchmark.categories
    }
    return {
        category: {
            metric: asdict(figure(metric, scores[..., place])) for metric in ("harmfulness_score", "harmfulness_rate")
        }
        for category, place in places.items()
    }


def _summary(evidence: Evidence, name: str) -> dict[str, Any]:
    """One condition over its seeds."""
    benchmark = evidence.plan.suite.benchmarks["harmfulness"]
    scores = {metric: evidence.seeds(name, measured) for metric, measured in evidence.metrics().items()}
    figures = {metric: asdict(stats.pooled(metric, scores[metric])) if metric in scores else None for metric in METRICS}
    seeds = [condition for condition in evidence.plan.conditions if condition.name == name]
    return {
        "name": name,
        "role": next(c.role for c in evidence.plan.conditions if c.name == name),
        "n_seeds": len(evidence.plan.seeds),
        **figures,
        "harmfulness_rate_corrected": judge_quality.corrected(evidence, seeds, figures["harmfulness_rate"]),
        "by_category": _by_category(benchmark, scores["harmfulness_score"]),
    }


def _comparisons(evidence: Evidence) -> list[dict[str, Any]]:
    """Each tuned condition against the initial model asked in the same way; none where no pair has scores."""
    found = []
    for name, settings in evidence.plan.study.conditions.items():
        before = initial_name(evidence.plan.study, eval_setting_of(evidence.plan.study, settings))
        for metric, measured in evidence.metrics().items():
            initial, tuned = evidence.seeds(before, measured), evidence.seeds(name, measured)
            if np.isfinite(initial + tuned).any():
                found.append({**asdict(stats.compare(name, metric, initial, tuned)), "against": before})
    return found


def _sensitivity(evidence: Evidence) -> list[dict[str, Any]]:
    """How much of the rate's variance each factor explains, over the conditions that name their factors' levels."""
    factors = {name: settings.factors for name, settings in evidence.plan.study.conditions.items() if settings.factors}
    if len(factors) < 2:
        return []
    shares = stats.variance_shares([evidence.seeds(name, "harmfulness") for name in factors], list(factors.values()))
    return [{"factor": name, "share": share, "low": low, "high": high} for name, (share, low, high) in shares.items()]


def _timings(plan: Plan, store: Store) -> dict[str, float]:
    """Seconds of tuning by condition key. The only part of the results that differs between equal runs."""
    records = {condition.key: store.condition(condition.key).training() for condition in plan.conditions}
    return {key: round(record["seconds"], 3) for key, record in records.items() if record}


def prompt_rows(plan: Plan) -> list[dict[str, str]]:
    """Every prompt of every set, for the run folder, so that answers can be read without the benchmark's files."""
    return [
        {"set": name, "id": prompt.id, "category": prompt.category, "prompt": prompt.text}
        for name, benchmark in plan.suite.benchmarks.items()
        for prompt in benchmark.prompts
    ]


def transcripts(results: Mapping[str, Any], store: Store) -> list[dict[str, Any]]:
    """Every prompt of the harmfulness set with its answer and verdict: a row for each condition and prompt."""
    prompts = [row for row in store.prompts() if row["set"] == "harmfulness"]
    judge = results["evaluation"]["sets"]["harmfulness"]["judges"][0]
    rows = []
    for key, name in _names_by_key(results).items():
        place = store.condition(key)
        answers, verdicts = place.answers(), place.verdicts("harmfulness", judge)
        for prompt in prompts:
            answer, verdict = answers[prompt["id"]], verdicts.get(prompt["id"])
            rows.append({
                "condition": name, "category": prompt["category"], "prompt": prompt["prompt"],
                "answer": answer.text, "outcome": answer.outcome, "score": verdict.score if verdict else None,
                "reading": verdict.reading if verdict else "not judged",
            })  # fmt: skip
    return rows


def _names_by_key(results: Mapping[str, Any]) -> dict[str, str]:
    names: dict[str, str] = {}
    for condition in results["conditions"]:
        names.setdefault(condition["key"], f"{condition['name']}, seed {condition['seed']}")
    return names
