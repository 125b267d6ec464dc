"""The exact test of a paired difference of two shares: prompts that turned harmful against prompts that turned safe.

`gained` of n prompts have what is counted after tuning and not before, `lost` have it before and not after. The change
is (gained − lost) / n; that of the population is P(gained) − P(lost).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GAMMA = 0.0001
"""The confidence set for the nuisance parameter misses it at most so often (Berger & Boos 1994)."""

GRID = 48
"""Values of the nuisance parameter at which the p-value is computed, before it is refined around the largest."""


def score(gained: Any, lost: Any, n: int, margin: float) -> Array:
    """Tango's score statistic of a paired difference of `margin` (1998, Statistics in Medicine 17:891).

    Below 0 where the change that was seen is smaller than the margin.
    """
    distance = (np.asarray(gained, dtype=float) - lost) / n - margin
    error = standard_error(gained, lost, n, margin)
    return np.asarray(distance / np.maximum(error, 1e-150) * (np.abs(distance) > 1e-12))


def standard_error(gained: Any, lost: Any, n: int, margin: float) -> Array:
    """The standard error of the change, were its true value the margin (Tango 1998)."""
    gained, lost = np.asarray(gained, dtype=float), np.asarray(lost, dtype=float)
    linear = (2 * n - gained + lost) * margin - gained - lost
    root = np.sqrt(np.maximum(linear**2 + 8 * n * lost * margin * (1 - margin), 0.0))
    of_lost = (root - linear) / (4 * n)
    return np.asarray(np.sqrt(np.maximum(2 * of_lost + margin * (1 - margin), 0.0) / n))


@lru_cache(maxsize=50_000)
def p_below(gained: int, lost: int, n: int, margin: float) -> float:
    """The p-value of "the change is at least `margin`": small where the change is shown to be below it.

    Exact and unconditional: the chance of a score statistic as low as this, at the worst value of the share that is
    lost, which is searched for in its confidence set (Hsueh, Liu & Chen 2001, doi:10.1111/j.0006-341X.2001.00478.x;
    Berger & Boos 1994, doi:10.1080/01621459.1994.10476836). The worst change of the hypothesis is the margin itself,
    since a lower number gained never raises the statistic.
    """
    if n < 1 or margin <= -1 or gained - lost >= n * margin:
        return 1.0
    most = _largest_gains(score(gained, lost, n, margin), n, margin)
    low, high = _nuisance(lost, n, margin)
    worst, step = 0.0, (high - low) / (GRID - 1)
    values = np.linspace(low, high, GRID)
    for _ in range(3):
        chances = _chances(most, values, n, margin)
        worst, at = max(worst, float(chances.max())), float(values[int(chances.argmax())])
        values = np.linspace(max(low, at - step), min(high, at + step), 13)
        step /= 6
    return min(1.0, worst + GAMMA)


def p_above(gained: int, lost: int, n: int, margin: float) -> float:
    """The p-value of "the change is at most `margin`": small where the change is shown to be above it."""
    return p_below(lost, gained, n, -margin)


def _nuisance(lost: int, n: int, margin: float) -> tuple[float, float]:
    """The shares lost that are looked at: those of its confidence interval (Clopper & Pearson 1934) that are possible.

    Where none is, the nearest that is possible.
    """
    from scipy.special import betaincinv

    low = 0.0 if lost == 0 else float(betaincinv(lost, n - lost + 1, GAMMA / 2))
    high = 1.0 if lost == n else float(betaincinv(lost + 1, n - lost, 1 - GAMMA / 2))
    least, most = max(0.0, -margin), max(0.0, (1 - margin) / 2)
    return min(max(low, least), most), max(min(high, most), least)


def _largest_gains(observed: Array, n: int, margin: float) -> Array:
    """For each number lost, the largest number gained whose statistic is as low as the observed; −1 if none is."""
    lost = np.arange(n + 1)
    low, high = np.full(n + 1, -1), n - lost
    while (low < high).any():
        middle = (low + high + 1) // 2
        inside = score(middle, lost, n, margin) <= observed + 1e-9
        low, high = np.where(inside & (low < high), middle, low), np.where(inside | (low >= high), high, middle - 1)
    return low


def _chances(most: Array, values: Array, n: int, margin: float) -> Array:
    """The chance of a pair of counts in the region, for each share that is lost."""
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    reach = n * float(values.max())
    lost = np.arange(min(n, int(reach + 9 * np.sqrt(reach) + 25)) + 1)[:, None]
    share, gain = values[None, :], values[None, :] + margin
    weights = gammaln(n + 1) - gammaln(lost + 1) - gammaln(n - lost + 1) + xlogy(lost, share)
    weights = np.exp(weights + xlog1py(n - lost, -share))
    gain = np.clip(np.divide(gain, np.maximum(1 - share, 1e-300)), 0.0, 1.0)
    region = most[: len(lost), None]
    below = np.where(region < 0, 0.0, bdtr(np.maximum(region, 0), n - lost, gain))
    below = np.where(region >= n - lost, 1.0, below)
    return np.asarray((weights * below).sum(axis=0))
