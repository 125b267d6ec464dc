"""What a run measured and how: settings, model, prompts and libraries. No figure is computed here."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from holdfast.core.config import label
from holdfast.core.results import SCHEMA, RunResults
from holdfast.core.run_facts import (
    CellFacts,
    ChatFacts,
    ConditionFacts,
    Evaluation,
    MeasuredSet,
    ModelFacts,
    RowAccount,
)
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import content_hash
from holdfast.core.version import __version__
from holdfast.models import hub, loading
from holdfast.study.eval_setting import template_of
from holdfast.study.plan import Plan
from holdfast.study.results import judge_quality

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "numpy")
"""Libraries whose version a figure can depend on."""


def evidence_key(plan: Plan) -> str:
    """The hash of everything that a finished run's figures follow from: equal keys, equal figures."""
    judges = {name: [label(judge) for judge in measured.judges] for name, measured in plan.suite.sets.items()}
    conditions = [[condition.name, condition.seed, condition.key] for condition in plan.conditions]
    notes = {name: benchmark.notes for name, benchmark in plan.suite.benchmarks.items()}
    factors = [[name, settings.factors] for name, settings in plan.study.conditions.items()]
    trusted = [plan.study.evaluate.max_missing, judge_quality.calibration_key(plan)]
    study = [plan.study.name, plan.study.model]
    cells = [[name, each.cell.model_dump()] for name, each in plan.study.conditions.items() if each.cell]
    tasks = [[name, seed, task.key] for (name, seed), task in plan.tasks.items()]
    return content_hash([SCHEMA, environment(), *study, judges, notes, conditions, factors, trusted, cells, tasks])


def is_current(results: RunResults, plan: Plan) -> bool:
    """Whether results are what a finished run of this plan would write."""
    labels = {name: settings.label for name, settings in plan.study.conditions.items()}
    written = {name: settings.label for name, settings in results.settings.items() if settings.role == "tuned"}
    same = results.evidence == evidence_key(plan) and written == labels
    return same and results.authorisation == plan.study.authorisation


def environment() -> dict[str, str]:
    """Python, platform, and the versions of the libraries that a figure can depend on."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    versions["holdfast"] = __version__
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}


def model_facts(plan: Plan) -> ModelFacts:
    """What the initial model is and how it is spoken to; of a served one, only its name is known."""
    if plan.base.served:
        stand_in = plan.study.evaluate.harmfulness.benchmark.kind in ("pocket", "quiz")
        return ModelFacts(plan.study.model, "served", stand_in, None, plan.fingerprint)
    described = hub.describe(Path(plan.base.base))
    chat = ChatFacts(**loading.describe_chat(loading.load_chat(plan.base)))
    return ModelFacts(plan.study.model, described["architecture"], described["stand_in"], chat, plan.fingerprint)


def evaluation(plan: Plan) -> Evaluation:
    """What every model was asked, and how."""
    sets = {}
    for name, measured in plan.suite.sets.items():
        benchmark, judges = plan.suite.benchmarks[name], tuple(map(label, measured.judges))
        sets[name] = MeasuredSet(benchmark.name, len(benchmark.prompts), benchmark.key, judges, benchmark.notes)
    return Evaluation(
        sets=sets,
        categories=plan.suite.benchmarks["harmfulness"].categories,
        generate=plan.study.generate.model_dump(mode="json"),
        decodings={name: generator.model_dump(mode="json") for name, generator in plan.study.decodings.items()},
        templates={name: settings.model_dump(mode="json") for name, settings in plan.study.templates.items()},
    )


def condition_facts(plan: Plan, run_folder: RunFolder, name: str) -> ConditionFacts:
    """The exact settings of a condition, and what its training was like for each seed."""
    conditions = [condition for condition in plan.conditions if condition.name == name]
    first, keys = conditions[0], tuple(condition.key for condition in conditions)
    settings = plan.study.conditions.get(name)
    picture = _shown(plan, first.key)
    if settings is None:
        return ConditionFacts("initial", first.ask, first.decoding, keys, picture=picture)
    records = [run_folder.condition(key).training() or {} for key in keys]
    return ConditionFacts(
        "tuned",
        first.ask,
        first.decoding,
        keys,
        label=settings.label,
        template=template_of(plan.study, settings),
        factors=settings.factors,
        checkpoint=settings.checkpoint,
        data=settings.data.model_dump(mode="json") if settings.data else None,
        accounts=tuple(RowAccount(**asdict(each), kept=each.kept) for each in plan.accounts.get(name, ())),
        defence=tuple(defence.model_dump(mode="json") for defence in settings.defence),
        tune=settings.tune.model_dump(mode="json") if settings.data else None,
        training=tuple({field: value for field, value in record.items() if field != "seconds"} for record in records),
        then=settings.then.model_dump(mode="json") if settings.then else None,
        bare=settings.bare,
        held_out=settings.held_out.model_dump(mode="json") if settings.held_out else None,
        cell=CellFacts(**settings.cell.model_dump()) if settings.cell else None,
        picture=picture,
    )


def _shown(plan: Plan, key: str) -> str | None:
    """The name of the picture that a condition is asked with."""
    template = next(job.templates[key] for job in plan.jobs if key in job.templates)
    return template.picture.name if template.picture else None
