"""Bounds for the mean of values in a known range, sound when nearly all of them are alike.

The values are the differences of prompts, tuned − base, each in −1 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS = 3000
"""Points of the integral over the characteristic function."""


def p_below(values: Array, margin: float) -> float:
    """The p-value of "the mean is at least `margin`": small where the mean is shown to be below it.

    Gaffke's bound (2005; Learned-Miller & Thomas 2019, arXiv 1905.06208): to the n values one more is added that is as
    large as a value can be, and all are weighted at random, uniformly on the simplex. The p-value is the chance that
    their weighted mean is `margin` or more. For values of 0 and 1 it is Clopper and Pearson's. That its error rate is
    at most what it says is proven for a wider bound of the same kind (Phan, Thomas & Learned-Miller 2021, arXiv
    2106.03163) and conjectured, with no exception known, for this one; docs/gate.md has what simulations show.
    """
    if margin > 1 or values.size == 0:
        return 0.0 if margin > 1 else 1.0
    sizes, counts = np.unique(np.append(values, 1.0), return_counts=True)
    return _positive(sizes - margin, counts)


def p_above(values: Array, margin: float) -> float:
    """The p-value of "the mean is at most `margin`": small where the mean is shown to be above it."""
    return p_below(-values, -margin)


def _positive(sizes: Array, counts: NDArray[np.int64]) -> float:
    """The chance that Σ size × Gamma(count) is above 0, from its characteristic function (Gil-Pelaez 1951).

    A weighted mean with weights uniform on the simplex is at least m where Σ (value − m) × Exponential is at least 0.
    """
    kept = np.abs(sizes) > 1e-12
    sizes, counts = sizes[kept], counts[kept]
    if not (sizes > 0).any() or not (sizes < 0).any():
        return float((sizes > 0).any() or not (sizes < 0).any())
    reach = np.log(1e-9 / float(np.abs(sizes) @ counts)), np.log(1e7 / float(np.abs(sizes).max()))
    steps = np.linspace(*reach, POINTS)
    turned = np.exp(steps)[:, None] * sizes
    size = np.exp(-0.5 * (counts * np.log1p(turned**2)).sum(axis=1))
    waves = np.sin((counts * np.arctan(turned)).sum(axis=1)) * size
    return float(np.clip(0.5 + waves.sum() * (steps[1] - steps[0]) / np.pi, 0.0, 1.0))
