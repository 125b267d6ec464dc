"""`holdfast plan`: what an audit can see, what it costs, and how many prompts it takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from holdfast.analysis import power
from holdfast.analysis.checks import METRICS
from holdfast.analysis.margins import Margins
from holdfast.analysis.power import Design
from holdfast.core.errors import DataError
from holdfast.core.files import write_atomically

SIZES = (50, 100, 200, 330, 500, 1000, 2000)
"""Numbers of prompts of a plan's table, beside the one that was asked for."""

POINTS = 21
"""Points of a plan's curve."""


@dataclass(frozen=True)
class Prices:
    """What one answer takes."""

    tokens: int = 600
    """Tokens of a question, its answer and its verdict, read and written."""
    usd_per_million: float = 0.0
    """US dollars for a million of them."""


@dataclass(frozen=True)
class Row:
    """What one number of prompts can see."""

    prompts: int
    passes: float
    """The chance of a pass, in percent, at the true change."""
    fails: float
    """The chance of a fail, in percent, at the true change."""
    smallest_rise: float | None
    """The smallest true rise, in points, that is failed with the wanted chance; None where none is."""
    answers: int
    """Answers that are asked of base and tuned models together."""
    tokens: int
    usd: float


@dataclass(frozen=True)
class Point:
    """The chances at one true change; in percent."""

    change: float
    passes: float
    fails: float


@dataclass(frozen=True)
class AuditPlan:
    """What an audit can see, what it costs, and how many prompts it takes. Rates in percent, changes in points."""

    prompts: int
    seeds: int
    samples: int
    base_rate: float
    margin: float
    true_change: float
    seed_sd: float
    power: float
    alpha_pass: float
    alpha_fail: float
    n_needed: int | None
    """About how many prompts pass (or fail) the true change with the wanted chance; None where too many."""
    rows: tuple[Row, ...]
    curve: tuple[Point, ...]
    """The chances of each answer across true changes, with the prompts that were asked for."""

    @property
    def here(self) -> Row:
        """The row of the number of prompts that was asked for."""
        return next(row for row in self.rows if row.prompts == self.prompts)

    def write(self, folder: Path) -> Path:
        """Write the plan as `plan.json` into a folder, which is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "plan.json", json.dumps(asdict(self), indent=1) + "\n")
        return folder / "plan.json"


def plan(
    margins: Margins, prompts: int = 330, seeds: int = 1, samples: int = 1, base_rate: float = 0.0,
    true_change: float = 0.0, seed_sd: float = 0.5, prices: Prices | None = None,
) -> AuditPlan:  # fmt: skip
    """Plan an audit of the harmfulness rate.

    Args:
        margins: the policy: its margin of the harmfulness rate, error rate and power.
        prompts: harmfulness prompts.
        seeds: tuned models, one a training seed.
        samples: answers to each prompt, where there is one tuned model that does not decode greedily.
        base_rate: harmfulness rate of the base, in percent.
        true_change: by how many points tuning truly raises it.
        seed_sd: how much the seeds of a recipe differ, on the logit scale.
        prices: what an answer takes.

    Raises:
        DataError: several seeds and samples at once, figures out of range, or a policy without a margin for the rate.
    """
    _refuse(margins, prompts, seeds, samples, base_rate, true_change, seed_sd)
    design = Design(
        prompts, seeds, samples, base_rate / 100, (margins.harmfulness_rate or 0.0) / 100,
        margins.alpha, alpha_fail(margins), seed_sd,
    )  # fmt: skip
    change = true_change / 100
    sizes = sorted({*SIZES, prompts})
    rows = [_row(replace(design, prompts=size), change, margins, prices or Prices()) for size in sizes]
    needed = power.prompts_to_tell(design, change, margins.power)
    if needed is not None and true_change < 100 * design.margin:
        needed = max(needed, margins.min_prompts)
    return AuditPlan(
        prompts, seeds, samples, base_rate, 100 * design.margin, true_change, seed_sd, margins.power,
        design.alpha_pass, design.alpha_fail, needed, tuple(rows), tuple(_curve(design, change, rows, prompts)),
    )  # fmt: skip


def alpha_fail(margins: Margins) -> float:
    """The error rate at which one metric fails a model, where every metric that has a margin is measured."""
    metrics = sum(margins.of(metric) is not None for metric in METRICS)
    return margins.alpha / (1 if margins.category is None else 2) / metrics


def _refuse(
    margins: Margins, prompts: int, seeds: int, samples: int, base_rate: float, true_change: float, seed_sd: float
) -> None:
    """Refuse what cannot be planned."""
    problems = [
        (margins.harmfulness_rate is None, "the policy has no margin for harmfulness_rate, which a plan is about"),
        (seeds > 1 and samples > 1, "give several seeds or several samples, not both: a gate takes one or the other"),
        (not 1 <= prompts <= power.MOST, f"prompts must be 1 to {power.MOST:,}; found {prompts:,}"),
        (not 1 <= seeds <= 100, f"seeds must be 1 to 100; found {seeds}"),
        (not 1 <= samples <= 100, f"samples must be 1 to 100; found {samples}"),
        (not 0 <= base_rate < 100, f"the base's rate must be 0 to below 100 percent; found {base_rate:g}"),
        (not -base_rate <= true_change <= 100 - base_rate,
         f"a base's rate of {base_rate:g} % cannot change by {true_change:g} points"),
        (not 0 <= seed_sd <= 5, f"the seeds' sd must be 0 to 5; found {seed_sd:g}"),
    ]  # fmt: skip
    found = [text for wrong, text in problems if wrong]
    if found:
        raise DataError(f"This cannot be planned: {'; '.join(found)}.")


def _row(design: Design, change: float, margins: Margins, prices: Prices) -> Row:
    passes, fails = power.chances(design, change)
    if design.prompts < margins.min_prompts:
        passes = 0.0
    rise = power.smallest_rise(design, margins.power)
    base = design.samples if design.seeds == 1 else 1
    answers = design.prompts * (base + design.seeds * design.samples)
    tokens = answers * prices.tokens
    return Row(
        design.prompts, _percent(passes), _percent(fails), None if rise is None else _percent(rise), answers, tokens,
        tokens * prices.usd_per_million / 1e6,
    )  # fmt: skip


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _curve(design: Design, change: float, rows: Sequence[Row], prompts: int) -> list[Point]:
    """The chances from no change to well beyond the rise that the audit can see."""
    rise = next((row.smallest_rise for row in rows if row.prompts == prompts), None)
    end = min(1 - design.base_rate, max(2 * design.margin, 1.25 * (rise or 100.0) / 100, 1.25 * change))
    points = []
    for step in range(POINTS):
        at = end * step / (POINTS - 1)
        passes, fails = power.chances(design, at, exact=False)
        points.append(Point(_percent(at), _percent(passes), _percent(fails)))
    return points
