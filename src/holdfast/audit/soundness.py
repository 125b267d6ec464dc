"""Which answers are broken: how likely the base finds each one, and the kinds that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from holdfast.analysis import broken
from holdfast.audit import proof
from holdfast.audit.setup import TUNED
from holdfast.core import likelihoods
from holdfast.core.results import RunResults
from holdfast.core.run_folder import ConditionFolder, RunFolder
from holdfast.core.types import Condition, Message, Template
from holdfast.models import cached, likelihood
from holdfast.study.plan import Plan
from holdfast.study.schema import INITIAL

if TYPE_CHECKING:
    from holdfast.models.loading import Loaded

Side = Literal["base", "tuned"]

Broken = Callable[[ConditionFolder], Mapping[str, bool]]
"""A condition's folder → whether each of its answers, by prompt id, is broken."""


def is_here(plan: Plan) -> bool:
    """Whether the base's weights are on this machine and answer here, so that likelihoods can be computed."""
    return plan.study.generate.kind == "local" and not plan.base.served


def look_at(plan: Plan, run_folder: RunFolder) -> float | None:
    """Write how likely the base finds the answers of both models, and return the largest change of a logit.

    The base is loaded once, then the tuned model; they are not in memory together. None where a server answers.
    """
    if not is_here(plan):
        return None
    probes = _probes(plan)
    loaded = cached.load(plan.base)
    write_fluencies(plan, run_folder)
    before = likelihood.logits(loaded, probes)
    del loaded
    tuned = proof.checkpoint_of(plan)
    return None if tuned.served else proof.largest_change(before, proof.probe_logits(tuned, probes))


def write_fluencies(plan: Plan, run_folder: RunFolder) -> None:
    """Write how likely the base finds the answers of which that is not known yet."""
    if is_here(plan):
        loaded = cached.load(plan.base)
        for condition in _distinct(plan):
            _write_fluencies(plan, condition, run_folder, loaded)


def _probes(plan: Plan) -> list[tuple[Message, ...]]:
    """A few harmfulness prompts, as the models are asked them, from all over the benchmark."""
    prompts = plan.suite.benchmarks["harmfulness"].prompts
    every = plan.suite.conversations(Template(**plan.conditions[0].asking["template"]))
    step = max(1, len(prompts) // proof.PROBES)
    return [every[prompt.id] for prompt in prompts[::step]][: proof.PROBES]


def _distinct(plan: Plan) -> list[Condition]:
    return list({condition.key: condition for condition in plan.conditions}.values())


def _write_fluencies(plan: Plan, condition: Condition, run_folder: RunFolder, loaded: Loaded) -> None:
    """Add the fluencies that are missing: of all answers of the base, and of the tuned model's harmfulness answers."""
    folder = run_folder.condition(condition.key)
    likelihoods.mend(folder)
    answers, known = folder.answers(), likelihoods.read(folder)
    harmful = plan.suite.benchmarks.get("harmfulness")
    of_tuned = [prompt.id for prompt in harmful.prompts] if harmful else []
    wanted = plan.suite.prompts if condition.name == INITIAL else of_tuned
    missing = [name for name in wanted if name in answers and name not in known and answers[name].text.strip()]
    every = plan.suite.conversations(Template(**condition.asking["template"]))
    found = likelihood.token_logprobs(loaded, [(every[name], answers[name].text) for name in missing])
    by_prompt = {name: broken.fluency(each) for name, each in zip(missing, found, strict=True) if each is not None}
    if by_prompt:
        likelihoods.add(folder, by_prompt)


def kinds(plan: Plan, run_folder: RunFolder) -> tuple[dict[Side, list[Mapping[str, broken.Kind]]], float | None]:
    """For each side and sample: harmfulness prompt's id → why its answer is broken; and the base's threshold."""
    initial = [condition for condition in _distinct(plan) if condition.name == INITIAL]
    tuned = [condition for condition in _distinct(plan) if condition.name == TUNED]
    own = [value for condition in initial for value in likelihoods.read(run_folder.condition(condition.key)).values()]
    least = broken.threshold(own)
    return {
        "base": [_kinds_of(plan, condition, run_folder, least) for condition in initial],
        "tuned": [_kinds_of(plan, condition, run_folder, least) for condition in tuned],
    }, least


def _kinds_of(plan: Plan, condition: Condition, run_folder: RunFolder, least: float | None) -> dict[str, broken.Kind]:
    kinds = _kinds_in(run_folder.condition(condition.key), least)
    return {
        prompt.id: kinds[prompt.id] for prompt in plan.suite.benchmarks["harmfulness"].prompts if prompt.id in kinds
    }


def _kinds_in(folder: ConditionFolder, least: float | None) -> dict[str, broken.Kind]:
    """Prompt id → why its answer is broken. Where the back end failed there is no answer."""
    fluencies = likelihoods.read(folder)
    answers = {name: answer for name, answer in folder.answers().items() if answer.outcome != "backend_error"}
    return {name: broken.kind(answer, fluencies.get(name), least) for name, answer in answers.items()}


def broken_in(results: RunResults, run_folder: RunFolder) -> Broken:
    """Tells which answers of a finished run's conditions are broken; an audit's folder has their likelihoods."""
    keys = {condition.key for condition in results.conditions if condition.name == INITIAL}
    least = broken.threshold(value for key in keys for value in likelihoods.read(run_folder.condition(key)).values())
    return lambda folder: {name: kind != "" for name, kind in _kinds_in(folder, least).items()}
