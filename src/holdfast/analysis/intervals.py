"""Intervals over prompts and seeds, in closed form. docs/intervals.md says why these and how well they cover.

Values are on 0 to 1, NaN where a verdict is missing, of shape [..., seeds, prompts]; leading axes are kept, so many
runs can be computed at once. `alpha` is what may lie beyond *one* end: 0.025 for a 95 % interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALLEST_P = 1e-9
"""P-values are searched for down to here."""


@dataclass(frozen=True)
class Spread:
    """The mean of crossed values, and what its variance is made of."""

    mean: Array
    """Mean over all known values."""
    by_seed: Array
    """Variance of the mean as the seeds' means show it; holds the values' own noise as well."""
    by_prompt: Array
    """Variance of the mean as the prompts' means show it; holds the values' own noise as well."""
    noise: Array
    """The part of both that is noise of single values, not of seeds or prompts."""
    n_seeds: Array
    """Seeds with a known value."""
    n_prompts: Array
    """Prompts with a known value."""
    n: Array
    """Known values."""


def spread(values: Array) -> Spread:
    """The two-way random-effects analysis of variance of values that seeds and prompts share.

    With complete values these are the mean squares of the crossed design over their number (Searle, Casella &
    McCulloch 1992, chapter 4). With missing ones, sums of residuals by seed and by prompt take their place, as in
    the variance of a mean under two-way clustering (Cameron, Gelbach & Miller 2011, doi:10.1198/jbes.2010.07136).
    Without any known value the mean is NaN.
    """
    known = ~np.isnan(values)
    in_seed, in_prompt = known.sum(axis=-1), known.sum(axis=-2)
    n = in_seed.sum(axis=-1)
    n_seeds, n_prompts = (in_seed > 0).sum(axis=-1), (in_prompt > 0).sum(axis=-1)
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore"):
        mean = filled.sum(axis=(-2, -1)) / n
    residuals = np.where(known, filled - mean[..., None, None], 0.0)
    of_seed, of_prompt = residuals.sum(axis=-1), residuals.sum(axis=-2)
    left = (residuals**2).sum(axis=(-2, -1))
    left = left - (of_seed**2 / np.maximum(in_seed, 1)).sum(axis=-1)
    left = left - (of_prompt**2 / np.maximum(in_prompt, 1)).sum(axis=-1)
    size = np.maximum(n, 1)
    return Spread(
        mean=mean,
        by_seed=_unbiased(n_seeds) * (of_seed**2).sum(axis=-1) / size**2,
        by_prompt=_unbiased(n_prompts) * (of_prompt**2).sum(axis=-1) / size**2,
        noise=np.maximum(left, 0.0) / np.maximum(n - n_seeds - n_prompts + 1, 1) / size,
        n_seeds=n_seeds,
        n_prompts=n_prompts,
        n=n,
    )


def _unbiased(n: Any) -> Any:
    """What makes the variance of n units' sum unbiased; 1 for a single unit, which shows none."""
    return n / np.maximum(n - 1, 1)


def margin(over: Spread, alpha: float) -> Array:
    """The squared half-width of the interval of a mean: z² × what prompts add + t² × what seeds show.

    Each part of the variance has its own quantile, that of the normal distribution for many prompts and that of t
    with seeds − 1 degrees of freedom for few seeds. The two half-widths are joined as those of a sum of independent
    terms are (Howe 1974; Zou & Donner 2008, doi:10.1002/sim.3095). It is never less than with the seeds at hand
    taken as the only ones.
    """
    return _margin(over, over.by_seed, over.n_seeds - 1, alpha)


def _margin(over: Spread, by_seed: Array, freedom: Array, alpha: float) -> Array:
    """As `margin`, with another variance by seed and its degrees of freedom."""
    from scipy.special import stdtrit

    z = _normal(alpha)
    t = np.where(freedom > 0, -stdtrit(np.maximum(freedom, 1), min(alpha, 0.5)), z)
    crossed = z**2 * np.maximum(over.by_prompt - over.noise, 0.0) + t**2 * by_seed
    return np.asarray(np.maximum(crossed, z**2 * over.by_prompt))


def _normal(alpha: float) -> float:
    """The normal distribution's upper quantile, 0 from a half on."""
    from scipy.special import ndtri

    return max(0.0, float(-ndtri(alpha)))


def of_mean(over: Spread, alpha: float = 0.025) -> tuple[Array, Array]:
    """The interval of a rate or of a mean on 0 to 1: Wilson's, with the effective sample size that `margin` implies.

    So survey statistics treats shares of clustered answers (Kott & Carr 1997; Korn & Graubard 1998; Kott 2017, Survey
    Methodology 43-2; compared by Dean & Pagano 2015 and Franco et al. 2019, PMC6690503). The ends lie within 0 to
    1, and reach farther to the side that has more room. No sample counts for more than its number of values.
    Where all values are 0, or all are 1, seeds and prompts show no variance; then each prompt counts once.
    """
    z = _normal(alpha)
    room = over.mean * (1.0 - over.mean)
    with np.errstate(invalid="ignore", divide="ignore"):
        k = np.maximum(margin(over, alpha) / room, z**2 / over.n)
    k = np.where(room > 0, k, z**2 / np.maximum(over.n_prompts, 1))
    centre = (over.mean + k / 2) / (1 + k)
    half = np.sqrt(k * (room + k / 4)) / (1 + k)
    return np.clip(centre - half, 0.0, over.mean), np.clip(centre + half, over.mean, 1.0)


def of_difference(higher: Array, lower: Array, alpha: float = 0.025) -> tuple[Array, Array]:
    """The interval of the mean of `higher` − `lower`, paired by prompt and seed, both of one shape.

    Each side's own interval is shifted and joined by their correlation (MOVER: Zou & Donner 2008, after
    Newcombe 1998, doi:10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C). The
    correlation is the one that makes it the interval of the paired differences where both sides' are symmetric.
    Whether the seeds of two conditions have anything in common is not known: the wider of both views is taken.
    """
    return _joined(*_spreads(higher, lower), alpha)


def _spreads(higher: Array, lower: Array) -> tuple[Spread, Spread, Spread]:
    """The spread of each side, and that of their differences, from the values that both sides know."""
    differences = higher - lower
    gone = np.isnan(differences)
    one, two = (spread(np.where(gone, np.nan, values)) for values in (higher, lower))
    return one, two, spread(differences)


def _joined(one: Spread, two: Spread, between: Spread, alpha: float) -> tuple[Array, Array]:
    """The interval of the difference of two means from each one's spread and that of their differences."""
    of_one, of_two, of_both = margin(one, alpha), margin(two, alpha), _margin_between(one, two, between, alpha)
    none_of = _none_of(one.n_prompts, alpha)
    of_both = np.where(of_both > 0, of_both, none_of**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (of_one + of_two - of_both) / (2 * np.sqrt(of_one * of_two))
    correlation = np.where((of_one > 0) & (of_two > 0), np.clip(correlation, -1.0, 1.0), 0.0)
    (low_one, high_one), (low_two, high_two) = (_ends(side, none_of, alpha) for side in (one, two))
    down = _length(one.mean - low_one, high_two - two.mean, correlation)
    up = _length(high_one - one.mean, two.mean - low_two, correlation)
    difference = one.mean - two.mean
    return difference - down, difference + up


def _margin_between(one: Spread, two: Spread, between: Spread, alpha: float) -> Array:
    """The squared half-width of a difference: the wider of seeds taken as pairs, and as unrelated (Welch 1947)."""
    by_seed = one.by_seed + two.by_seed
    with np.errstate(invalid="ignore", divide="ignore"):
        share = by_seed**2 / (one.by_seed**2 + two.by_seed**2)
    freedom = np.where(by_seed > 0, share, 1.0) * (one.n_seeds - 1)
    return np.maximum(margin(between, alpha), _margin(between, by_seed, freedom, alpha))


def _ends(side: Spread, none_of: Array, alpha: float) -> tuple[Array, Array]:
    """One side's interval; where all its values are 0, or all 1, at least the exact one of 0 in n prompts."""
    low, high = of_mean(side, alpha)
    return (
        np.where(side.mean >= 1, np.minimum(low, 1.0 - none_of), low),
        np.where(side.mean <= 0, np.maximum(high, none_of), high),
    )


def _none_of(n: Array, alpha: float) -> Array:
    """The largest share of which none is seen among n with a chance of `alpha` (Clopper & Pearson 1934)."""
    return np.asarray(1.0 - alpha ** (1.0 / np.maximum(n, 1)))


def _length(first: Array, second: Array, correlation: Array) -> Array:
    return np.sqrt(np.maximum(first**2 + second**2 - 2 * correlation * first * second, 0.0))


def p_values(higher: Array, lower: Array, least: float) -> tuple[float, float]:
    """One-sided p-values that the difference is above `least`, and that it is below: those of `of_difference`.

    A p-value is the smallest `alpha` whose interval does not hold `least`, found by halving. Shapes are [seeds,
    prompts].
    """
    one, two, between = _spreads(higher, lower)
    difference = float(one.mean - two.mean)
    if difference > least:
        above = _smallest(lambda alpha: float(_joined(one, two, between, alpha)[0]) > least)
        return above, max(0.5, 1.0 - above)
    if difference < least:
        below = _smallest(lambda alpha: float(_joined(one, two, between, alpha)[1]) < least)
        return max(0.5, 1.0 - below), below
    return 1.0, 1.0


def _smallest(excludes: Callable[[float], bool]) -> float:
    """The smallest alpha at which an interval excludes a value."""
    low, high = np.log(SMALLEST_P), 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if excludes(float(np.exp(middle))) else (middle, high)
    return float(np.exp(high))
