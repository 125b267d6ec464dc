"""Fewer questions: prompts are asked block by block, and a test that holds at every block tells when to stop.

The test bets against a hypothesis about the mean change and watches its capital (Waudby-Smith & Ramdas 2024,
doi:10.1093/jrsssb/qkad009; for pairs of 0 and 1 it is a sequential McNemar test). If the hypothesis is true, the
capital is ever multiplied by 1/alpha with a chance of at most alpha, however often one looks (Ville 1939). docs/gate.md
says what is guaranteed, and for which order of questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.analysis.noninferiority import CLOSE, Change, changes_of, mean_change

Array = NDArray[np.float64]

PER_BLOCK = 2
"""Prompts of a category in one block, on average."""

ALL_IN = 0.5
"""The share of the capital that bets as if no prompt will change for the worse. One that does takes all of it."""

FRACTIONS = (0.9, 0.7, 0.5, 0.35, 0.2, 0.1, 0.05)
"""The other shares, alike in size, bet these fractions of what can be bet. So some change is survived."""


def blocks(categories: Sequence[str], seed: int) -> list[list[int]]:
    """The order in which prompts are asked: blocks of row numbers, each with every category in proportion.

    Categories of one size have equally many prompts in every block, others up to one more or fewer. Which
    prompts of a category come first is drawn at random, from `seed`.
    """
    rng = np.random.default_rng(seed)
    rows = np.array(categories, dtype=object)
    by_category = [rng.permutation(np.flatnonzero(rows == name)) for name in dict.fromkeys(categories)]
    n = max(1, len(categories) // max(1, PER_BLOCK * len(by_category)))
    made = []
    for step in range(n):
        parts = [of[round(len(of) * step / n) : round(len(of) * (step + 1) / n)] for of in by_category]
        made.append([int(row) for row in np.concatenate([np.zeros(0, dtype=int), *parts])])
    return made


def compare(
    base: Array, tuned: Array, seeds_are_models: bool, margin: float, alpha_pass: float, alpha_fail: float
) -> Change:
    """As `noninferiority.compare`, over prompts asked so far, and as often as one likes: after each block.

    Several seeds cannot be told apart so: their answers of one prompt are no independent bets. Then nothing is shown.
    """
    if seeds_are_models and tuned.shape[1] > 1:
        low, high = -1.0, 1.0
    else:
        worst, best = changes_of(base, tuned)
        low, high = -_reach(-best, -margin, alpha_fail), _reach(worst, margin, alpha_pass)
    gone = np.isnan(base).any(axis=1) | np.isnan(tuned).any(axis=1)
    return Change(
        value=mean_change(base, tuned), low=low, high=high, below=high < margin, above=low > margin,
        over="prompts", n=len(base), missing=int(gone.sum()),
    )  # fmt: skip


def log_capital(changes: Array, margin: float) -> float:
    """The log of what 1 has become by betting that the mean change is below `margin`; −∞ where all is lost.

    A share of the capital that bets the fraction f is multiplied by 1 + f (margin − change) / (1 − margin) at each
    prompt: by 0 or more, for no change is above 1; and by 1 or less on average, where the mean is the margin or more.
    Where a block has each category in proportion, this holds for the product over the block, though categories differ
    (the arithmetic mean of the factors' means is 1 or less, and their geometric mean is no larger).
    """
    if margin >= 1 or margin <= -1 or changes.size == 0:
        return np.inf if margin >= 1 and changes.size else 0.0
    values, counts = np.unique(changes, return_counts=True)
    fractions = np.array([1.0, *FRACTIONS])
    shares = np.array([ALL_IN, *[(1 - ALL_IN) / len(FRACTIONS)] * len(FRACTIONS)])
    factors = 1 + fractions[:, None] * (margin - values) / (1 - margin)
    with np.errstate(divide="ignore"):
        logs = np.log(shares) + (counts * np.log(np.maximum(factors, 0.0))).sum(axis=1)
    return float(np.logaddexp.reduce(logs))


def _reach(changes: Array, margin: float, alpha: float) -> float:
    """The largest mean change that bets do not exclude. It lies below the margin if and only if the margin is."""
    excluded = log_capital(changes, margin) >= -np.log(alpha)
    low, high = (-1.0, margin) if excluded else (margin, 1.0)
    while high - low > CLOSE:
        half = (low + high) / 2
        low, high = (low, half) if log_capital(changes, half) >= -np.log(alpha) else (half, high)
    return low if excluded else high
