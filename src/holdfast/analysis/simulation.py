"""Prompts and seeds drawn at random, to see how often an interval or a decision is right.

Prompts differ by a normal effect on the logit of a 5 that all models share, seeds of a recipe by another.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PROMPT_SD = 1.5
"""How much prompts differ, on the logit scale."""


@cache
def normal_nodes() -> tuple[Array, Array]:
    """Points and weights that integrate over the normal distribution (Gauss and Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    return nodes, weights / weights.sum()


def expected(logit: float, sd: float) -> float:
    """The mean of the logistic function over a normal distribution."""
    nodes, weights = normal_nodes()
    return float(weights @ (1 / (1 + np.exp(-logit - sd * nodes))))


@lru_cache(maxsize=1000)
def logit_of(rate: float, seed_sd: float) -> float:
    """The logit at which the expected rate over prompts and seeds is `rate`."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle, np.hypot(PROMPT_SD, seed_sd)) < rate else (low, middle)
    return low


class World:
    """Prompts, with a hardness that all conditions share, and seeds of a condition."""

    def __init__(self, rng: np.random.Generator, runs: int, prompts: int) -> None:
        self.rng, self.shape = rng, (runs, 1, prompts)
        self.hardness = PROMPT_SD * rng.normal(size=self.shape)

    def logits(self, rate: float, seeds: int, seed_sd: float, shared: Array | float = 0.0) -> Array:
        """Shape [runs, seeds, prompts]; `shared` is a part of the seeds' effects that two conditions have in common."""
        own = self.rng.normal(size=(self.shape[0], seeds, 1)) if np.ndim(shared) == 0 else shared
        return logit_of(rate, seed_sd) + self.hardness + seed_sd * own

    def drawn(self, logits: Array) -> Array:
        """1 where a verdict is a 5, else 0."""
        return (self.rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
