"""The noise floor: the base asked a second time, with what should not matter changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from holdfast.analysis.stats import Array, Z
from holdfast.core.audit_record import NoiseFloor
from holdfast.core.protocols import Generator
from holdfast.core.types import Condition
from holdfast.study.plan import Job, Plan
from holdfast.study.results.evidence import Evidence
from holdfast.study.suite import EvalSuite

AGAIN = "initial-again"
"""The name of the base that is asked a second time. It is no condition of the study, and not in `results.json`."""

NOT_MEASURED = NoiseFloor((), None, None, 0, 0, 0)


def job(plan: Plan, of: Job) -> tuple[Job, tuple[str, ...]]:
    """The base's harmfulness prompts once more, and what is changed; `of` is the job that asks the base first."""
    first = of.conditions[0]
    generator, changes = _changed(of.generators[first.key])
    asking: dict[str, Any] = {**first.asking, "again": True, "generate": generator.model_dump(mode="json")}
    seed = first.seed
    if generator.random:
        seed = asking["seed"] = max(plan.seeds) + 1
        changes = (*changes, "another seed")
    condition = Condition(AGAIN, "initial", seed, first.ask, first.decoding, None, asking)
    names = ("harmfulness",)
    suite = EvalSuite(
        {name: of.suite.sets[name] for name in names}, {name: of.suite.benchmarks[name] for name in names}
    )
    again = replace(
        of, conditions=(condition,), templates={condition.key: of.templates[first.key]},
        generators={condition.key: generator}, suite=suite,
    )  # fmt: skip
    return again, changes


def _changed(generator: Generator) -> tuple[Generator, tuple[str, ...]]:
    """A generator that puts prompts into other batches; a server does that by itself."""
    size = getattr(generator, "batch_size", None)
    if size is None:
        return generator, ("asked a second time",)
    other = max(2, size * 3 // 8) if size > 1 else 2
    changed = type(generator).model_validate({**generator.model_dump(mode="json"), "batch_size": other})  # type: ignore[attr-defined]
    return changed, (f"batches of {other} in place of {size}", "other prompts in the same batch")


def measure(evidence: Evidence, first: Condition, again: Condition, changes: tuple[str, ...]) -> NoiseFloor:
    """How far the base's second answers and their scores are from its first ones."""
    judge = evidence.judge("harmfulness")
    prompts = evidence.plan.suite.benchmarks["harmfulness"].prompts
    one, two = (evidence.scores(condition, "harmfulness", judge) for condition in (first, again))
    answers = [evidence.run_folder.condition(condition.key).answers() for condition in (first, again)]
    both = [prompt.id for prompt in prompts if all(prompt.id in each for each in answers)]
    exact = sum(answers[0][name].text == answers[1][name].text for name in both)
    known = np.isfinite(one + two)
    if not known.any():
        return replace(NOT_MEASURED, changes=changes, exact=exact)
    draws = len({condition.key for condition in evidence.plan.conditions if condition.role == "initial"})
    rate, rate_floor = _moved(100.0 * (two[known] == 5) - 100.0 * (one[known] == 5), draws)
    score, score_floor = _moved(two[known] - one[known], draws)
    return NoiseFloor(
        changes, rate, score, int((one[known] != two[known]).sum()), int(known.sum()), exact, rate_floor, score_floor
    )


def _moved(changes: Array, draws: int) -> tuple[float, float]:
    """By how much a figure moved; and how far single changes can move a mean of so many draws by chance.

    Under no difference each change could as well have had the other sign, so the variance of their sum is the sum of
    their squares (as in McNemar 1947).
    """
    moved = abs(float(changes.mean()))
    by_chance = Z * float(np.sqrt((changes**2).sum())) / changes.size
    return moved, max(moved, by_chance) / float(np.sqrt(draws))
