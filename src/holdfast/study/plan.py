"""Study × seeds → conditions, and the pieces of work that finish them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.core.errors import ModelError
from holdfast.core.protocols import Generator, Tuner
from holdfast.core.types import (
    Account,
    Benchmark,
    Checkpoint,
    Condition,
    Example,
    Message,
    Prompt,
    Template,
    content_hash,
)
from holdfast.models import hub
from holdfast.models.adapters import check_base
from holdfast.study.schema import INITIAL, ConditionSettings, Measured, Study


@dataclass(frozen=True)
class Asked:
    """What every condition of a study is asked, and by whom it is judged."""

    sets: Mapping[str, Measured]
    """The measured sets by name: harmfulness, utility, over_refusal."""
    benchmarks: Mapping[str, Benchmark]
    """Their prompts, by the same names."""

    @cached_property
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
    """Template of each of the conditions' keys."""
    generators: Mapping[str, Generator]
    """Who answers for each of the conditions' keys."""
    asked: Asked

    def size(self) -> int:
        """Units of work: optimizer steps, answers and verdicts."""
        steps = 0
        if self.training:
            steps = self.training.tuner.steps(len(self.training.rows), max(map(epochs_of, self.conditions)))
        return steps + len(self.conditions) * (len(self.asked.prompts) + self.asked.n_verdicts)


@dataclass(frozen=True)
class Way:
    """One way of asking: base and tuned are compared only where they are asked in the same way."""

    ask: str
    """Name of the template."""
    decoding: str | None
    """Name of the decoding; None for the study's own."""

    def generator(self, study: Study) -> Generator:
        """Who answers in this way."""
        return study.decodings[self.decoding] if self.decoding else study.generate


@dataclass(frozen=True)
class Plan:
    """Everything a run will do."""

    study: Study
    seeds: tuple[int, ...]
    base: Checkpoint
    """The initial model."""
    fingerprint: str
    """The hash of the initial model."""
    asked: Asked
    conditions: tuple[Condition, ...]
    """One for each name and seed, initial ones first; several may have one key."""
    works: tuple[Work, ...]
    """Each key is in exactly one of them."""
    accounts: Mapping[str, tuple[Account, ...]] = field(default_factory=dict)
    """Tuned condition's name → what became of the rows of its data, as they were when the plan was made."""


def epochs_of(condition: Condition) -> int:
    """The epochs after which a condition is taken; 0 for a model that is not tuned here."""
    return int(condition.training.get("epochs", 0)) if condition.training else 0


def make_plan(study: Study, seeds: Sequence[int]) -> Plan:
    """Read the data and the benchmarks of a study, and decide what there is to do. No weights are loaded.

    Raises:
        DataError: bad rows or prompts, by line and reason.
        ModelError: a model that is not there, or not safe to load.
    """
    base = _checkpoint(study, study.model, study.revision)
    if not base.served and hub.is_adapter(Path(base.base)):
        raise ModelError(
            f"{study.model} is an adapter: name its base as `model`, and it as a condition's `checkpoint`."
        )
    sets = study.evaluate.sets()
    asked = Asked(sets, {name: measured.benchmark.load() for name, measured in sets.items()})
    plan = Plan(study, tuple(seeds), base, _fingerprint(base), asked, (), ())
    planned = [*_initial(plan), *_tuned(plan)]
    works: dict[str, Work] = {}
    for condition, training, checkpoint in planned:
        name = training.run if training else condition.key
        before = works.get(name, Work(checkpoint, training, (), {}, {}, asked))
        if condition.key not in before.templates:
            template = study.templates[condition.ask].template()
            generator = Way(condition.ask, condition.decoding).generator(study)
            works[name] = replace(
                before,
                conditions=(*before.conditions, condition),
                templates={**before.templates, condition.key: template},
                generators={**before.generators, condition.key: generator},
            )
    return replace(
        plan,
        conditions=tuple(condition for condition, _, _ in planned),
        works=tuple(works.values()),
        accounts={name: tuple(made.data.accounts()) for name, made in study.conditions.items() if made.data},
    )


def _asking(plan: Plan, way: Way, seed: int) -> dict[str, Any]:
    """What determines the answers beside tuned weights. A seed belongs to it only where answers are drawn."""
    generator = way.generator(plan.study)
    asking: dict[str, Any] = {
        "model": plan.fingerprint,
        "thinking": plan.study.thinking,
        "template": asdict(plan.study.templates[way.ask].template()),
        "generate": generator.model_dump(mode="json"),
        "benchmarks": {name: benchmark.key for name, benchmark in plan.asked.benchmarks.items()},
    }
    return {**asking, "seed": seed} if generator.random else asking


def _checkpoint(study: Study, model: str, revision: str | None) -> Checkpoint:
    """A model as a study names it."""
    if model.startswith(hub.SERVED):
        name = model.removeprefix(hub.SERVED)
        return Checkpoint(name, served=name, thinking=study.thinking)
    return Checkpoint(str(hub.resolve(model, revision)), thinking=study.thinking)


def _fingerprint(checkpoint: Checkpoint) -> str:
    """The hash of a checkpoint's own files; of its name where only a server has it."""
    if checkpoint.served:
        return content_hash(["served", checkpoint.served])
    return hub.fingerprint(checkpoint.folder or Path(checkpoint.base))


def _initial(plan: Plan) -> list[tuple[Condition, None, Checkpoint]]:
    """The initial model asked in each way that a tuned condition is asked in, for each seed."""
    default = Way(plan.study.default_template, None)
    ways = dict.fromkeys([default, *(way_of(plan.study, c) for c in plan.study.conditions.values())])
    return [
        (
            Condition(
                initial_name(plan.study, way), "initial", seed, way.ask, way.decoding, None, _asking(plan, way, seed)
            ),
            None,
            plan.base,
        )
        for way in ways
        for seed in plan.seeds
    ]


def _tuned(plan: Plan) -> list[tuple[Condition, Training | None, Checkpoint]]:
    planned: list[tuple[Condition, Training | None, Checkpoint]] = []
    read: dict[tuple[str, int], list[Example]] = {}
    for name, settings in plan.study.conditions.items():
        wrap = plan.study.templates[template_of(plan.study, settings)].template().wrap
        way = way_of(plan.study, settings)
        if settings.data is None:
            checkpoint = brought(plan.study, settings, plan.base)
            given = {
                "model": plan.fingerprint,
                "checkpoint": _fingerprint(checkpoint),
                "own_template": checkpoint.own_template,
            }
            for seed in plan.seeds:
                asking = _asking(plan, way, seed)
                planned.append((Condition(name, "tuned", seed, way.ask, way.decoding, given, asking), None, checkpoint))
            continue
        if plan.base.served:
            raise ModelError(f"{name}: only a server has {plan.study.model!r}, so it cannot be tuned here.")
        for seed in plan.seeds:
            at = (settings.data.key, seed)
            drawn = read[at] = read[at] if at in read else settings.data.examples(seed)
            drawn = settings.defence.examples(drawn, seed) if settings.defence else drawn
            rows = tuple(Example(wrap(row.messages), row.source) for row in drawn)
            content = content_hash([row.id for row in rows])
            run = {"model": plan.fingerprint, "rows": content, "tune": dict(settings.tune.run), "seed": seed}
            run["thinking"] = plan.study.thinking
            training = Training(content_hash(run), rows, settings.tune, seed)
            tuned = {**run, "n_rows": len(rows), "epochs": settings.tune.epochs}
            asking = _asking(plan, way, seed)
            planned.append((Condition(name, "tuned", seed, way.ask, way.decoding, tuned, asking), training, plan.base))
    return planned


def brought(study: Study, settings: ConditionSettings, base: Checkpoint) -> Checkpoint:
    """The checkpoint that a condition brings.

    Raises:
        ModelError: it is not there, its chat template differs from its base's and the study does not choose, or it
            is an adapter that was made for another base.
    """
    given = _checkpoint(study, str(settings.checkpoint), None)
    if given.served:
        return given
    folder = Path(given.base)
    own = hub.own_template(folder)
    root = folder if base.served else Path(base.base)
    if settings.chat_template is None and own is not None and own != hub.own_template(root):
        raise ModelError(
            f"{settings.checkpoint}: its chat template is not its base's, so the two would be asked differently. Say "
            "`chat_template: base` to ask it as its base is asked, or `chat_template: own` to ask it as it was tuned."
        )
    if hub.is_adapter(folder) and not base.served:
        check_base(folder, root)
    own_template = settings.chat_template == "own" and own is not None
    return Checkpoint(str(root), folder=folder, thinking=study.thinking, own_template=own_template)


def template_of(study: Study, settings: ConditionSettings) -> str:
    """The name of the template that a condition is tuned with."""
    return settings.template or study.default_template


def way_of(study: Study, settings: ConditionSettings) -> Way:
    """How a tuned condition is asked."""
    return Way(settings.ask or template_of(study, settings), settings.decoding)


def initial_name(study: Study, way: Way) -> str:
    """The name of the initial model asked in a way."""
    template = None if way.ask == study.default_template else way.ask
    return "-".join(part for part in (INITIAL, template, way.decoding) if part)


def questions(asked: Asked, template: Template) -> dict[str, tuple[Message, ...]]:
    """Prompt id → the conversation that asks it."""
    return {
        name: template.wrap([*prompt.history, Message("user", prompt.text)]) for name, prompt in asked.prompts.items()
    }
