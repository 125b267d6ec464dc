"""How far two judges, or a judge and people, agree. Pure: scores in, figures out; formulas name their source.

Scores are 1 to 5, NaN where there is none. Intervals are 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.analysis.stats import Z, wilson

SCORES = (1, 2, 3, 4, 5)

SPREAD = float((SCORES[-1] - SCORES[0]) ** 2)
"""The largest squared difference of two scores."""


@dataclass(frozen=True)
class Agreement:
    """What two readings of the same answers have in common."""

    n: int
    """Answers that both gave a score."""
    missing: int
    """Answers that at least one gave none."""
    exact: float | None
    """Share of the n with equal scores, in percent; None where n is 0."""
    kappa: float | None
    """Quadratically weighted kappa, −1 to 1: 1 is full agreement, 0 what chance alone gives. None where it is not
    defined: no answer with two scores, or one and the same score for all."""
    low: float | None
    """Lower end of kappa's interval."""
    high: float | None
    """Upper end of kappa's interval."""
    confusion: tuple[tuple[int, ...], ...]
    """How many answers have each pair of scores: a row for each score of the first, a column for each of the second."""


def agree(first: ArrayLike, second: ArrayLike, units: ArrayLike | None = None) -> Agreement:
    """The agreement of two readings of the same answers, one score each.

    `units` says which answers belong together (such as answers to one prompt), so that they are not taken for
    independent; each is a unit of its own if not given. Kappa is Cohen's (1968, doi:10.1037/h0026256) with
    quadratic weights, in the form of Fleiss & Cohen 1973: one less the mean squared difference over what it would
    be by chance.
    """
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    both = ~(np.isnan(one) | np.isnan(two))
    groups = np.arange(one.size) if units is None else np.asarray(units)
    x, y, groups = one[both], two[both], groups[both]
    table = confusion(x, y)
    missing = int(one.size - x.size)
    if not x.size:
        return Agreement(0, missing, None, None, None, None, _rows(table))
    exact = 100.0 * float(np.mean(x == y))
    chance = _by_chance(x, y)
    if chance == 0:
        return Agreement(x.size, missing, exact, None, None, None, _rows(table))
    kappa = float(1.0 - np.mean((x - y) ** 2) / chance)
    return Agreement(x.size, missing, exact, kappa, *_interval(x, y, groups, kappa, chance), _rows(table))


def confusion(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many answers have each pair of scores: shape [5 scores of the first, 5 of the second]."""
    table = np.zeros((len(SCORES), len(SCORES)), dtype=np.int64)
    np.add.at(table, (first.astype(int) - 1, second.astype(int) - 1), 1)
    return table


def _rows(table: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(count) for count in row) for row in table)


def _by_chance(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The mean squared difference of two scores that have nothing to do with each other."""
    return float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def _interval(
    x: NDArray[np.float64], y: NDArray[np.float64], groups: NDArray[np.int64], kappa: float, chance: float
) -> tuple[float, float]:
    """The interval of kappa, by the delta method on Fisher's z scale (Lin 1989, doi:10.2307/2532051).

    Influences of answers that belong together are added up before they are squared (Liang & Zeger 1986). Where all
    scores are equal, it is as wide as a share of 0 in n answers in full disagreement allows (Wilson 1927).
    """
    if kappa == 1.0:
        return max(-1.0, 1.0 - wilson(0.0, x.size)[1] * SPREAD / chance), 1.0
    gap = x.mean() - y.mean()
    by_answer = (x - x.mean()) ** 2 + (y - y.mean()) ** 2 + 2 * gap * (x - y - gap) + gap**2
    influence = ((1.0 - kappa) * by_answer - (x - y) ** 2) / chance
    summed = np.bincount(np.unique(groups, return_inverse=True)[1], weights=influence)
    error = float(np.sqrt((summed**2).sum())) / x.size
    if kappa <= -1.0:
        return -1.0, min(1.0, -1.0 + wilson(0.0, x.size)[1] * SPREAD / chance)
    centre, half = np.arctanh(kappa), Z * error / (1.0 - kappa**2)
    return float(np.tanh(centre - half)), float(np.tanh(centre + half))
