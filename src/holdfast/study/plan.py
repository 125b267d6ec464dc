"""Study × seeds → conditions, and the jobs that finish them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from holdfast.core.errors import DataError, ModelError, StudyError
from holdfast.core.file_faults import shown
from holdfast.core.pictures import Picture
from holdfast.core.protocols import Defence, Generator, Source, Tuner
from holdfast.core.task_losses import HeldOut
from holdfast.core.types import (
    Account,
    Checkpoint,
    Condition,
    Example,
    Template,
    content_hash,
)
from holdfast.models import hub
from holdfast.study import hosted_rules, seeing
from holdfast.study.checkpoints import brought_checkpoint, fingerprint, named_checkpoint
from holdfast.study.eval_setting import EvalSetting, eval_setting_of, initial_name, shown_in, template_of
from holdfast.study.schema import ConditionSettings, Study, seeds_problem
from holdfast.study.suite import EvalSuite

TUNED_ROW = 16
"""Units of work in a row that is tuned on in one epoch.

On a CPU such a row takes as long as 3 answers (pocket model) to 6 (quiz model). So the time left has the right size
already when the first steps are done.
"""


@dataclass(frozen=True)
class Training:
    """One training run. Several conditions may use it, each after another number of epochs."""

    run: str
    """The hash of everything that determines the run."""
    rows: tuple[Example, ...]
    """Conversations in the condition's template."""
    tuner: Tuner
    seed: int
    defences: tuple[Defence, ...] = ()
    """Those that act on the base or the weights, in order."""
    first: Training | None = None
    """The training run whose weights are tuned here; None where the base is."""

    def steps(self, epochs: int) -> int:
        """Optimizer steps of so many epochs, without those of the training run before."""
        return self.tuner.steps(len(self.rows), epochs)

    @property
    def step(self) -> int:
        """Units of work in an optimizer step."""
        return max(1, TUNED_ROW * len(self.rows) // self.steps(1))

    def size(self, epochs: int) -> int:
        """Units of work of so many epochs, and of the training run before."""
        before = self.first.size(self.first.tuner.epochs) if self.first else 0
        return before + self.step * self.steps(epochs)


@dataclass(frozen=True)
class Job:
    """Conditions that share one training run, or one condition that is not tuned here. A worker does one job."""

    base: Checkpoint
    training: Training | None
    """None for the initial model and for a checkpoint that the study brings."""
    conditions: tuple[Condition, ...]
    templates: Mapping[str, Template]
    """Condition key → its template."""
    generators: Mapping[str, Generator]
    """Condition key → its generator."""
    suite: EvalSuite
    held_out: Mapping[str, tuple[HeldOut, ...]] = field(default_factory=dict)
    """Condition key → the rows whose likelihood is measured, a set for each task."""

    def size(self) -> int:
        """Units of work: optimizer steps, answers and verdicts."""
        tuning = self.training.size(max(map(epochs_of, self.conditions))) if self.training else 0
        return tuning + len(self.conditions) * self.suite.size


@dataclass(frozen=True)
class Plan:
    """Everything that a run will do."""

    study: Study
    seeds: tuple[int, ...]
    base: Checkpoint
    """The initial model."""
    fingerprint: str
    """The hash of the initial model."""
    suite: EvalSuite
    conditions: tuple[Condition, ...] = ()
    """One for each name and seed, initial ones first. Several may have one key."""
    jobs: tuple[Job, ...] = ()
    """Each key is in exactly one of them."""
    accounts: Mapping[str, tuple[Account, ...]] = field(default_factory=dict)
    """Tuned condition's name → what became of the rows of its data, as they were when the plan was made."""
    tasks: Mapping[tuple[str, int], HeldOut] = field(default_factory=dict)
    """Name and seed of a tuned condition → the rows of its task that are held out."""


@dataclass(frozen=True)
class _Planned:
    """A condition with what a job needs to do it."""

    condition: Condition
    training: Training | None
    checkpoint: Checkpoint
    """The model that is asked, or tuned first."""
    generator: Generator
    held_out: tuple[HeldOut, ...] = ()
    picture: Picture | None = None
    """What is shown beside every request."""


def make_plan(study: Study, seeds: Sequence[int]) -> Plan:
    """Read the data and the benchmarks of a study, and decide what there is to do. No weights are loaded.

    Raises:
        StudyError: seeds that no generator takes.
        DataError: bad rows or prompts, by line and reason.
        ModelError: a model that is missing, or not safe to load.
    """
    if problem := seeds_problem(seeds):
        raise StudyError(f"seeds {problem}; found {shown(list(seeds))}.")
    hosted_rules.check(study)
    base = named_checkpoint(study, study.model, study.revision)
    if not base.served and hub.is_adapter(Path(base.base)):
        raise ModelError(
            f"{study.model} is an adapter: name its base as `model`, and the adapter as a condition's `checkpoint`."
        )
    sets = study.evaluate.sets()
    suite = EvalSuite(sets, {name: measured.benchmark.load() for name, measured in sets.items()})
    plan = Plan(study, tuple(seeds), base, fingerprint(base), suite)
    plan = replace(plan, tasks=_tasks(plan))
    planned = [*_initial(plan), *_tuned(plan)]
    return replace(
        plan,
        conditions=tuple(each.condition for each in planned),
        jobs=_jobs(plan, planned),
        accounts={name: tuple(made.data.accounts()) for name, made in study.conditions.items() if made.data},
    )


def _jobs(plan: Plan, planned: Iterable[_Planned]) -> tuple[Job, ...]:
    """Conditions grouped by training run; conditions with equal keys are done once."""
    jobs: dict[str, Job] = {}
    for each in planned:
        condition, training = each.condition, each.training
        name = training.run if training else condition.key
        job = jobs.get(name, Job(each.checkpoint, training, (), {}, {}, plan.suite))
        if condition.key not in job.templates:
            template = Template(**condition.asking["template"], picture=each.picture)
            job = replace(
                job,
                conditions=(*job.conditions, condition),
                templates={**job.templates, condition.key: template},
                generators={**job.generators, condition.key: each.generator},
            )
        tasks = dict.fromkeys([*job.held_out.get(condition.key, ()), *each.held_out])
        jobs[name] = replace(job, held_out={**job.held_out, condition.key: tuple(tasks)}) if tasks else job
    return tuple(jobs.values())


def _tasks(plan: Plan) -> dict[tuple[str, int], HeldOut]:
    """Name and seed of a tuned condition → the rows of its task that are held out, where it names some."""
    drawn: dict[tuple[str, int], HeldOut] = {}
    tasks = {}
    for name, settings in plan.study.conditions.items():
        for seed in plan.seeds if settings.held_out else ():
            source = cast("Source", settings.held_out)
            if (source.key, seed) not in drawn:
                drawn[source.key, seed] = HeldOut(tuple(source.examples(seed)))
            tasks[name, seed] = drawn[source.key, seed]
    return tasks


def _initial(plan: Plan) -> list[_Planned]:
    """The initial model in each setting in which a tuned condition is asked, for each seed."""
    study = plan.study
    tuned: dict[EvalSetting, list[str]] = {EvalSetting(study.default_template, None): []}
    for name, settings in study.conditions.items():
        tuned.setdefault(eval_setting_of(study, settings).of_initial(study), []).append(name)
    planned = []
    for setting, beside in tuned.items():
        for seed in plan.seeds:
            asking = _asking(plan, setting, seed, "initial")
            name = initial_name(study, setting)
            condition = Condition(name, "initial", seed, setting.ask, setting.decoding, None, asking)
            tasks = dict.fromkeys(plan.tasks[each, seed] for each in beside if (each, seed) in plan.tasks)
            generator = setting.generator(study)
            planned.append(_Planned(condition, None, plan.base, generator, tuple(tasks), setting.picture))
    return planned


def _tuned(plan: Plan) -> list[_Planned]:
    """The conditions that the study names, for each seed."""
    drawn: dict[tuple[str, int], list[Example]] = {}
    planned: list[_Planned] = []
    for name, settings in plan.study.conditions.items():
        if settings.data is None:
            planned += _of_checkpoint(plan, name, settings)
        else:
            planned += [_of_data(plan, name, settings, settings.data, seed, drawn) for seed in plan.seeds]
    return planned


def _of_checkpoint(plan: Plan, name: str, settings: ConditionSettings) -> list[_Planned]:
    """A condition whose weights were tuned elsewhere, for each seed."""
    checkpoint = brought_checkpoint(plan.study, settings, plan.base)
    weights = {
        "model": plan.fingerprint,
        "checkpoint": fingerprint(checkpoint),
        "own_template": checkpoint.own_template,
    }
    generator = eval_setting_of(plan.study, settings).generator(plan.study)
    conditions = [_tuned_condition(plan, name, settings, seed, weights) for seed in plan.seeds]
    seeing.check_asking(name, settings, checkpoint)
    return [_Planned(each, None, checkpoint, generator, picture=shown_in(settings)) for each in conditions]


def _of_data(
    plan: Plan, name: str, settings: ConditionSettings, data: Source, seed: int,
    drawn: dict[tuple[str, int], list[Example]],
) -> _Planned:  # fmt: skip
    """A condition that is tuned here. `drawn` keeps the rows of each source and seed, which conditions share."""
    if plan.base.served and not settings.tune.base_url:
        raise ModelError(f"{name}: only a server has {plan.study.model!r}, so it cannot be tuned here.")
    held_out = [plan.tasks[name, seed]] if (name, seed) in plan.tasks else []
    rows = _drawn(data, seed, drawn)
    _refuse_leak(name, rows, held_out)
    for defence in settings.defence:
        defence.check(plan.base)
        rows = defence.rows(rows, seed)
    rows = _wrapped(plan, settings, rows)
    hosted_rules.check_rows(name, settings, rows)
    seeing.check_rows(name, settings, plan.base, rows)
    # A defence that acts on the rows is in `rows`, and one that acts on the asking needs no tuning of its own.
    acting = tuple(d for d in settings.defence if d.places & {"base", "tuning", "weights"})
    run = _run(plan, rows, settings.tune, seed)
    if acting:
        run["defences"] = [dict(defence.identity) for defence in acting]
    training = Training(content_hash(run), tuple(rows), settings.tune, seed, acting)
    tuner = settings.tune
    if settings.then:
        rows, tuner = _wrapped(plan, settings, _drawn(settings.then.data, seed, drawn)), settings.then.tune
        run = {**_run(plan, rows, tuner, seed), "first": run, "first_epochs": settings.tune.epochs}
        training = Training(content_hash(run), tuple(rows), tuner, seed, first=training)
    weights = {**run, "n_rows": len(rows), "epochs": tuner.epochs}
    generator = eval_setting_of(plan.study, settings).generator(plan.study)
    condition = _tuned_condition(plan, name, settings, seed, weights)
    return _Planned(condition, training, plan.base, generator, tuple(held_out), shown_in(settings))


def _drawn(data: Source, seed: int, drawn: dict[tuple[str, int], list[Example]]) -> list[Example]:
    if (data.key, seed) not in drawn:
        drawn[data.key, seed] = data.examples(seed)
    return drawn[data.key, seed]


def _wrapped(plan: Plan, settings: ConditionSettings, rows: Iterable[Example]) -> list[Example]:
    """Rows in the template that a condition is tuned with."""
    wrap = plan.study.templates[template_of(plan.study, settings)].template().wrap
    return [Example(wrap(row.messages), row.source) for row in rows]


def _run(plan: Plan, rows: Sequence[Example], tuner: Tuner, seed: int) -> dict[str, Any]:
    """What determines a training run."""
    return {
        "model": plan.fingerprint,
        "rows": content_hash([row.id for row in rows]),
        "tune": dict(tuner.run),
        "seed": seed,
        "thinking": plan.study.thinking,
    }


def _refuse_leak(name: str, rows: Sequence[Example], held_out: Sequence[HeldOut]) -> None:
    """Refuse held-out rows that are tuned on: how likely they are would say nothing."""
    tuned_on = {row.id for row in rows}
    kept_back = [row for task in held_out for row in task.rows]
    if leaked := [row for row in kept_back if row.id in tuned_on]:
        raise DataError(
            f"{name}: {len(leaked)} rows of `held_out` are among the rows that it is tuned on, e.g. "
            f"{leaked[0].source}. Take others, or split one source by `kind: split`."
        )


def _tuned_condition(
    plan: Plan, name: str, settings: ConditionSettings, seed: int, weights: Mapping[str, Any]
) -> Condition:
    setting = eval_setting_of(plan.study, settings)
    asking = _asking(plan, setting, seed, "tuned")
    if settings.defence:  # all of them: a defended condition never shares a key with one that is not defended so
        asking["defences"] = [dict(defence.identity) for defence in settings.defence]
    return Condition(name, "tuned", seed, setting.ask, setting.decoding, weights, asking)


def _asking(plan: Plan, setting: EvalSetting, seed: int, role: Literal["initial", "tuned"]) -> dict[str, Any]:
    """What determines the answers beside tuned weights. The seed belongs to it only where answers are sampled."""
    generator = setting.generator(plan.study)
    template = setting.template(plan.study, role)
    asking: dict[str, Any] = {
        "model": plan.fingerprint,
        "thinking": plan.study.thinking,
        "template": {"system": template.system, "user": template.user},
        "generate": generator.model_dump(mode="json"),
        "benchmarks": {name: benchmark.key for name, benchmark in plan.suite.benchmarks.items()},
    }
    if template.picture is not None:
        asking["picture"] = template.picture.sha256
    return {**asking, "seed": seed} if generator.random else asking


def epochs_of(condition: Condition) -> int:
    """The epochs after which a condition's weights are taken; 0 for a model that is not tuned here."""
    return int(condition.training.get("epochs", 0)) if condition.training else 0
