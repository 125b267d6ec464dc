"""Study × seeds → conditions, and the pieces of work that finish them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from holdfast import models
from holdfast.study import INITIAL, ConditionSettings, Measured, Study
from holdfast.types import (
    Benchmark,
    Checkpoint,
    Condition,
    Example,
    Generator,
    Message,
    Prompt,
    Template,
    Tuner,
    content_hash,
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What every condition of a study is asked, and by whom it is judged."""

    generator: Generator
    """Who answers."""
    sets: Mapping[str, Measured]
    """The measured sets by name: harmfulness, utility, over_refusal."""
    benchmarks: Mapping[str, Benchmark]
    """Their prompts, by the same names."""

    @property
    def prompts(self) -> dict[str, Prompt]:
        """All prompts by id."""
        return {prompt.id: prompt for benchmark in self.benchmarks.values() for prompt in benchmark.prompts}

    @property
    def n_verdicts(self) -> int:
        """Verdicts for one condition."""
        return sum(len(self.sets[name].judges) * len(self.benchmarks[name].prompts) for name in self.sets)


@dataclass(frozen=True)
class Training:
    """One training run, of which conditions may take several epochs."""

    run: str
    """The hash of what determines it."""
    rows: tuple[Example, ...]
    """Conversations in the condition's template."""
    tuner: Tuner
    seed: int


@dataclass(frozen=True)
class Work:
    """Conditions that share one training run, or one way of asking the initial model."""

    base: Checkpoint
    training: Training | None
    """None for the initial model."""
    conditions: tuple[Condition, ...]
    templates: Mapping[str, Template]
    asked: Asked

    def size(self) -> int:
        """Units of work: optimizer steps, answers and verdicts."""
        steps = 0
        if self.training:
            steps = self.training.tuner.steps(len(self.training.rows), max(map(epochs_of, self.conditions)))
        return steps + len(self.conditions) * (len(self.asked.prompts) + self.asked.n_verdicts)


@dataclass(frozen=True)
class Plan:
    """Everything a run will do."""

    study: Study
    seeds: tuple[int, ...]
    model: Path
    """The folder of the initial model."""
    fingerprint: str
    """The hash of the initial model."""
    asked: Asked
    conditions: tuple[Condition, ...]
    """One for each name and seed, initial ones first; several may have one key."""
    works: tuple[Work, ...]
    """Each key is in exactly one of them."""


def epochs_of(condition: Condition) -> int:
    """The epochs after which a condition is taken; 0 for the initial model."""
    return int(condition.training["epochs"]) if condition.training else 0


def make_plan(study: Study, seeds: Sequence[int]) -> Plan:
    """Read the data and the benchmarks of a study, and decide what there is to do. No weights are loaded.

    Raises:
        DataError: bad rows or prompts, by line and reason.
        ModelError: a model that is not there, or not safe to load.
    """
    folder = models.resolve(study.model, study.revision)
    sets = study.evaluate.sets()
    asked = Asked(study.generate, sets, {name: measured.benchmark.load() for name, measured in sets.items()})
    plan = Plan(study, tuple(seeds), folder, models.fingerprint(folder), asked, (), ())
    base = Checkpoint(str(folder))
    planned = [*_initial(plan), *_tuned(plan)]
    works: dict[str, Work] = {}
    for condition, training in planned:
        name = training.run if training else condition.key
        before = works.get(name, Work(base, training, (), {}, asked))
        if all(condition.key != other.key for other in before.conditions):
            template = study.templates[condition.template].template()
            works[name] = Work(
                base,
                training,
                (*before.conditions, condition),
                {**before.templates, condition.template: template},
                asked,
            )
    return replace(plan, conditions=tuple(condition for condition, _ in planned), works=tuple(works.values()))


def _asking(plan: Plan, template: str, seed: int) -> dict[str, Any]:
    """What determines the answers beside tuned weights. A seed belongs to it only where answers are drawn."""
    asking: dict[str, Any] = {
        "model": plan.fingerprint,
        "template": asdict(plan.study.templates[template].template()),
        "generate": plan.asked.generator.model_dump(mode="json"),
        "benchmarks": {name: benchmark.key for name, benchmark in plan.asked.benchmarks.items()},
    }
    return {**asking, "seed": seed} if plan.asked.generator.random else asking


def template_of(study: Study, settings: ConditionSettings) -> str:
    """The name of the template that a condition is trained and asked with."""
    return settings.template or study.default_template


def initial_name(study: Study, template: str) -> str:
    """The name of the initial model asked with a template."""
    return INITIAL if template == study.default_template else f"{INITIAL}-{template}"


def _initial(plan: Plan) -> list[tuple[Condition, None]]:
    """The initial model asked with each template that a tuned condition uses, for each seed."""
    used = [plan.study.default_template, *(template_of(plan.study, c) for c in plan.study.conditions.values())]
    return [
        (
            Condition(
                initial_name(plan.study, template), "initial", seed, template, None, _asking(plan, template, seed)
            ),
            None,
        )
        for template in dict.fromkeys(used)
        for seed in plan.seeds
    ]


def _tuned(plan: Plan) -> list[tuple[Condition, Training]]:
    pairs = []
    for name, settings in plan.study.conditions.items():
        template = template_of(plan.study, settings)
        wrap = plan.study.templates[template].template().wrap
        for seed in plan.seeds:
            drawn = settings.data.examples(seed)
            drawn = settings.defence.examples(drawn, seed) if settings.defence else drawn
            rows = tuple(Example(wrap(row.messages), row.source) for row in drawn)
            content = content_hash([row.id for row in rows])
            run = {"model": plan.fingerprint, "rows": content, "tune": dict(settings.tune.run), "seed": seed}
            training = Training(content_hash(run), rows, settings.tune, seed)
            asking = _asking(plan, template, seed)
            tuned = {**run, "n_rows": len(rows), "epochs": settings.tune.epochs}
            pairs.append((Condition(name, "tuned", seed, template, tuned, asking), training))
    return pairs


def questions(asked: Asked, template: Template) -> dict[str, tuple[Message, ...]]:
    """Prompt id → the conversation that asks it."""
    return {name: template.wrap([Message("user", prompt.text)]) for name, prompt in asked.prompts.items()}
