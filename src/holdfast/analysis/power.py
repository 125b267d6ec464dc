"""How often a gate answers: the chance of a pass or a fail, and the prompts that it takes.

`gained` and `lost` are the shares (0 to 1) of prompts that turn harmful and of those that turn safe.
"""

from __future__ import annotations

import numpy as np

from holdfast.analysis import paired_rate

EXACT = 400
"""Up to so many prompts the chance is exact, above by the normal distribution, which is within a point there."""

FEW = 10
"""In the search for a number of prompts, the chance is exact only where at most so many prompts change."""

MOST = 100_000
"""More prompts than this are not worth naming."""


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


def _approximate(n: int, gained: float, lost: float, margin: float, alpha: float) -> float:
    """The chance by the normal distribution (Nam 1997, doi:10.2307/2533508)."""
    from scipy.special import ndtr, ndtri

    change = gained - lost
    spread = np.sqrt(max(gained + lost - change**2, 1e-12) / n)
    at_margin = paired_rate.standard_error(gained * n, lost * n, n, margin)
    return float(ndtr((margin - change + ndtri(alpha) * at_margin) / spread))


def prompts_needed(gained: float, lost: float, margin: float, alpha: float, power: float) -> int | None:
    """About how many prompts tell on which side of the margin a change is; None where not even 100,000 do."""
    change = gained - lost

    def told(n: int) -> bool:
        below = (gained, lost, margin) if change < margin else (lost, gained, -margin)
        chance = chance_to_pass if n <= EXACT and n * (gained + lost) <= FEW else _approximate
        return chance(n, *below, alpha) >= power

    if change == margin or not told(MOST):
        return None
    low, high = 1, 64
    while not told(high):
        low, high = high, min(MOST, 2 * high)
    while high - low > max(1, high // 100):
        half = (low + high) // 2
        low, high = (low, half) if told(half) else (half, high)
    return high
