"""Is the tuned model worse than the base by less than a margin? Tests and one-sided bounds of a paired change.

Values are on 0 to 1, higher for the worse (1 where an answer is harmful; where a permitted request is refused), NaN
where there is none. A change is tuned − base. docs/gate.md says why these tests, and how often they are wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.analysis import bounded_mean, intervals, paired_rate

Array = NDArray[np.float64]

CLOSE = 1e-4
"""Bounds are searched for to this accuracy, on 0 to 1."""

SEEDS_SHARE = 0.3
"""Over seeds, "smaller" is shown at this share of the error rate.

Where few seeds of many break loose, most samples of three or five seeds hold none of them and look alike: the interval
then misses the truth too often. With this share it does not; `speed/gate_errors.py` measures it.
"""


@dataclass(frozen=True)
class Change:
    """A change for the worse, tested against a margin; all on 0 to 1."""

    value: float | None
    """Mean over prompts with a value on both sides; None without one."""
    low: float
    """The change is at least this large, at `alpha_fail`."""
    high: float
    """The change is at most this large, at `alpha_pass`."""
    below: bool
    """Whether it is shown, at `alpha_pass`, that the change is smaller than the margin."""
    above: bool
    """Whether it is shown, at `alpha_fail`, that the change is larger than the margin."""
    over: str
    """`prompts` or `prompts and seeds`."""
    n: int
    """Prompts."""
    missing: int
    """Prompts of which a value is missing on either side. Each was counted at its worst for what is to be shown."""


PValue = Callable[[float], float]
"""A margin → the p-value of its hypothesis."""


def compare(
    base: Array, tuned: Array, seeds_are_models: bool, margin: float, alpha_pass: float, alpha_fail: float
) -> Change:
    """Test a change against a margin.

    Args:
        base: shape [prompts, samples].
        tuned: shape [prompts, samples], or [prompts, seeds] where each column is a model of its own.
        seeds_are_models: whether that is so.
        margin: the largest change allowed, on 0 to 1.
        alpha_pass: how often a change as large as the margin may be called smaller.
        alpha_fail: how often a change no larger than the margin may be called larger.

    A missing value counts at its worst: as 1 in the tuned model and 0 in the base where "smaller" is to be shown, and
    the other way round where "larger" is. So no missing answer helps to pass a model, or to fail it.
    """
    several = seeds_are_models and tuned.shape[1] > 1
    worst, best = (_filled(base, 0.0), _filled(tuned, 1.0)), (_filled(base, 1.0), _filled(tuned, 0.0))
    if several:
        low, high = _over_seeds(*best, alpha_fail)[0], _over_seeds(*worst, SEEDS_SHARE * alpha_pass)[1]
    else:
        low, high = -_reach(_p_above(*best), -margin, alpha_fail), _reach(_p_below(*worst), margin, alpha_pass)
    gone = np.isnan(base).any(axis=1) | np.isnan(tuned).any(axis=1)
    return Change(
        value=mean_change(base, tuned),
        low=low,
        high=high,
        below=high < margin,
        above=low > margin,
        over="prompts and seeds" if several else "prompts",
        n=len(base),
        missing=int(gone.sum()),
    )


def changes_of(base: Array, tuned: Array) -> tuple[Array, Array]:
    """The change of each prompt with missing values at their worst, and at their best; shape [prompts]."""
    worst = _filled(tuned, 1.0).mean(axis=1) - _filled(base, 0.0).mean(axis=1)
    best = _filled(tuned, 0.0).mean(axis=1) - _filled(base, 1.0).mean(axis=1)
    return worst, best


def mean_change(base: Array, tuned: Array) -> float | None:
    """The mean over prompts of the change of each, as far as known; None where no prompt has both."""
    known = ~(np.isnan(base).all(axis=1) | np.isnan(tuned).all(axis=1))
    if not known.any():
        return None
    return float(np.mean(np.nanmean(tuned[known], axis=1) - np.nanmean(base[known], axis=1)))


def _filled(values: Array, missing: float) -> Array:
    return np.where(np.isnan(values), missing, values)


def _p_below(base: Array, tuned: Array) -> PValue:
    """The test over prompts that a change is below a margin: exact on pairs of 0 and 1, else that of a bounded mean."""
    if _are_pairs(base, tuned):
        flips = _flips(base, tuned)
        return lambda margin: paired_rate.p_below(*flips, margin)
    changes = tuned.mean(axis=1) - base.mean(axis=1)
    return lambda margin: bounded_mean.p_below(changes, margin)


def _p_above(base: Array, tuned: Array) -> PValue:
    """The test over prompts that a change is above a margin, as a function of −margin."""
    return _p_below(tuned, base)


def _are_pairs(base: Array, tuned: Array) -> bool:
    return all(side.shape[1] == 1 and bool(np.isin(side, (0.0, 1.0)).all()) for side in (base, tuned))


def _flips(base: Array, tuned: Array) -> tuple[int, int, int]:
    """Prompts that gained, prompts that lost, and all prompts."""
    return int((tuned > base).sum()), int((tuned < base).sum()), len(base)


def _over_seeds(base: Array, tuned: Array, alpha: float) -> tuple[float, float]:
    """One-sided bounds over prompts and seeds: of the recipe's expected change, not of that of these weights."""
    after = tuned.T
    low, high = intervals.of_difference(after, np.broadcast_to(base.mean(axis=1), after.shape), alpha)
    return max(-1.0, float(low)), min(1.0, float(high))


def _reach(p_value: PValue, margin: float, alpha: float) -> float:
    """The largest change that is not excluded at `alpha`. It lies below the margin if and only if the margin is."""
    if p_value(margin) > alpha:
        low, high = margin, 1.0
        while high - low > CLOSE:
            half = (low + high) / 2
            low, high = (low, half) if p_value(half) <= alpha else (half, high)
        return high
    low, high = -1.0, margin
    while high - low > CLOSE:
        half = (low + high) / 2
        low, high = (low, half) if p_value(half) <= alpha else (half, high)
    return low
