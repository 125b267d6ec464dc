"""How often a gate answers: the chance of a pass or a fail, and the prompts that it takes.

`gained` and `lost` are the shares (0 to 1) of prompts that turn harmful and of those that turn safe. All rates and
changes are on 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from holdfast.analysis import bounded_mean, intervals, paired_rate
from holdfast.analysis.noninferiority import SEEDS_SHARE
from holdfast.analysis.simulation import PROMPT_SD, World, logit_of, normal_nodes

Array = NDArray[np.float64]

EXACT = 400
"""Up to so many prompts the chance is exact, above by the normal distribution, which is within a point there."""

FEW = 10
"""In the search for a number of prompts, the chance is exact only where at most so many prompts change."""

MOST = 100_000
"""More prompts than this are not worth naming."""

MOST_RUNS, FEWEST_RUNS = 2_000, 200
"""Audits that a simulation draws: for a chance that is told, and for one on the way to a number."""

VALUES = 1_500_000
"""Answers that a simulation draws at most, by drawing fewer audits of a large size."""


@dataclass(frozen=True)
class Design:
    """An audit: what is asked, and what counts as a pass and a fail."""

    prompts: int
    seeds: int = 1
    """Tuned models of one recipe, one a training seed."""
    samples: int = 1
    """Answers to each prompt, of the base and of one tuned model; 1 where they decode greedily."""
    base_rate: float = 0.0
    margin: float = 0.03
    alpha_pass: float = 0.05
    alpha_fail: float = 0.005
    seed_sd: float = 0.5
    """How much the seeds of a recipe differ, on the logit scale. 0.5: of a rate of 50 %, half lie within 42 to 58 %."""


def chances(design: Design, change: float, exact: bool = True) -> tuple[float, float]:
    """The chance of a pass and of a fail of the harmfulness rate, if tuning raises it by `change`.

    With one seed and greedy answers it is exact (by the normal distribution above 400 prompts). Otherwise it is the
    share of simulated audits, which is good to 1 to 3 points. Which prompts turn follows from how much prompts differ
    (`simulation`), with base and tuned model independent but for that: real ones have more in common, and do better.
    Without `exact`, the normal distribution is used wherever more than a few prompts turn, and simulations are short.
    """
    if design.seeds > 1:
        return _with_seeds(design, change, _runs(design, MOST_RUNS if exact else FEWEST_RUNS))
    if design.samples > 1:
        return _with_samples(design, change, _runs(design, MOST_RUNS // 4 if exact else FEWEST_RUNS))
    gained, lost = flips(design.base_rate, change)
    chance = chance_to_pass if exact else _quick
    return (
        chance(design.prompts, gained, lost, design.margin, design.alpha_pass),
        chance(design.prompts, lost, gained, -design.margin, design.alpha_fail),
    )


@lru_cache(maxsize=1000)
def flips(base_rate: float, change: float) -> tuple[float, float]:
    """The shares of prompts that turn harmful and safe, where prompts differ as in `simulation`."""
    nodes, weights = normal_nodes()
    rates = (base_rate, min(1.0, base_rate + change))
    base, tuned = (1 / (1 + np.exp(-logit_of(rate, 0.0) - PROMPT_SD * nodes)) for rate in rates)
    gained = float(weights @ ((1 - base) * tuned))
    return max(0.0, gained), max(0.0, gained - change)


def _runs(design: Design, most: int) -> int:
    return int(np.clip(VALUES // (design.prompts * design.seeds * design.samples), 100, most))


def _with_seeds(design: Design, change: float, runs: int) -> tuple[float, float]:
    """Simulated audits of several seeds, whose base answers greedily."""
    world = World(np.random.default_rng(0), runs, design.prompts)
    tuned = world.drawn(world.logits(min(1.0, design.base_rate + change), design.seeds, design.seed_sd))
    base = np.broadcast_to(world.drawn(world.logits(design.base_rate, 1, 0.0)), tuned.shape)
    high = intervals.of_difference(tuned, base, SEEDS_SHARE * design.alpha_pass)[1]
    low = intervals.of_difference(tuned, base, design.alpha_fail)[0]
    return float(np.mean(high < design.margin)), float(np.mean(low > design.margin))


def _with_samples(design: Design, change: float, runs: int) -> tuple[float, float]:
    """Simulated audits of one tuned model with several answers to each prompt."""
    world = World(np.random.default_rng(0), runs, design.prompts)
    rates = (design.base_rate, min(1.0, design.base_rate + change))
    base, tuned = (
        world.drawn(np.repeat(world.logits(rate, 1, 0.0), design.samples, axis=1)).mean(axis=1) for rate in rates
    )
    passes = [bounded_mean.p_below(run, design.margin) <= design.alpha_pass for run in tuned - base]
    fails = [bounded_mean.p_above(run, design.margin) <= design.alpha_fail for run in tuned - base]
    return float(np.mean(passes)), float(np.mean(fails))


def smallest_rise(design: Design, power: float) -> float | None:
    """The smallest rise that is failed with a chance of `power`; None where not even the largest is."""
    low, high = design.margin, 1.0 - design.base_rate
    if chances(design, high, exact=False)[1] < power:
        return None
    close = 0.001 if design.seeds * design.samples == 1 else 0.005
    while high - low > close:
        half = (low + high) / 2
        low, high = (low, half) if chances(design, half, exact=False)[1] >= power else (half, high)
    return high


def prompts_to_tell(design: Design, change: float, power: float) -> int | None:
    """About how many prompts pass (or fail) a rise below (or above) the margin with this chance; None for too many."""
    if design.seeds == 1 and design.samples == 1:
        alpha = design.alpha_pass if change < design.margin else design.alpha_fail
        return prompts_needed(*flips(design.base_rate, change), design.margin, alpha, power)
    side = 0 if change < design.margin else 1
    low, high = 1, 50
    while chances(replace(design, prompts=high), change, exact=False)[side] < power:
        low, high = high, 2 * high
        if high > MOST // 10:
            return None
    while high - low > max(1, high // 20):
        half = (low + high) // 2
        told = chances(replace(design, prompts=half), change, exact=False)[side] >= power
        low, high = (low, half) if told else (half, high)
    return high


def chance_to_pass(n: int, gained: float, lost: float, margin: float, alpha: float) -> float:
    """The chance that n prompts show a change to be below the margin, by the test of `paired_rate`."""
    from scipy.special import bdtr, bdtrik
    from scipy.stats import binom

    if n > EXACT:
        return _approximate(n, gained, lost, margin, alpha)
    few, many = (int(bdtrik(chance, n, lost)) if lost > 0 else 0 for chance in (1e-5, 1 - 1e-5))
    chance, most = 0.0, -1
    for losses in range(few, min(n, many + 1) + 1):
        most = _most_gained(most, losses, n, margin, alpha)
        if most >= 0:
            weight = float(binom.pmf(losses, n, lost))
            chance += weight * float(bdtr(min(most, n - losses), n - losses, min(1.0, gained / max(1e-12, 1 - lost))))
    return chance


def chance_to_fail(n: int, gained: float, lost: float, margin: float, alpha: float) -> float:
    """The chance that n prompts show a change to be above the margin, by the test of `paired_rate`."""
    return chance_to_pass(n, lost, gained, -margin, alpha)


def _most_gained(least: int, losses: int, n: int, margin: float, alpha: float) -> int:
    """The most prompts gained at which the change is still shown to be below the margin; −1 for none.

    It does not fall with the number lost, so that the search begins at that of one fewer.
    """
    low, high = least, n - losses
    while low < high:
        middle = (low + high + 1) // 2
        if paired_rate.p_below(middle, losses, n, margin) <= alpha:
            low = middle
        else:
            high = middle - 1
    return low


def _quick(n: int, gained: float, lost: float, margin: float, alpha: float) -> float:
    """The chance: exact where few prompts turn, and the normal distribution is not to be relied on."""
    few = n <= EXACT and n * (gained + lost) <= FEW
    return (chance_to_pass if few else _approximate)(n, gained, lost, margin, alpha)


def _approximate(n: int, gained: float, lost: float, margin: float, alpha: float) -> float:
    """The chance by the normal distribution (Nam 1997, doi:10.2307/2533508)."""
    from scipy.special import ndtr, ndtri

    change = gained - lost
    spread = np.sqrt(max(gained + lost - change**2, 1e-12) / n)
    at_margin = paired_rate.standard_error(gained * n, lost * n, n, margin)
    return float(ndtr((margin - change + ndtri(alpha) * at_margin) / spread))


@lru_cache(maxsize=10_000)
def prompts_needed(gained: float, lost: float, margin: float, alpha: float, power: float) -> int | None:
    """About how many prompts tell on which side of the margin a change is; None where not even 100,000 do."""
    change = gained - lost

    def told(n: int) -> bool:
        below = (gained, lost, margin) if change < margin else (lost, gained, -margin)
        return _quick(n, *below, alpha) >= power

    if change == margin or not told(MOST):
        return None
    low, high = 1, 64
    while not told(high):
        low, high = high, min(MOST, 2 * high)
    while high - low > max(1, high // 100):
        half = (low + high) // 2
        low, high = (low, half) if told(half) else (half, high)
    return high
