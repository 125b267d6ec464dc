"""What a few worlds, drawn at random, say of all worlds that could be drawn: a share, and a mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

ALPHA = 0.025
"""What may lie beyond one end of an interval."""


def share(k: int, n: int) -> tuple[float, float]:
    """The exact 95 % interval of the share of worlds in which something holds, seen in k of n (Clopper & Pearson 1934).

    It is never too short, however few worlds there are: of five out of five it leaves 48 to 100 %.
    """
    from scipy.special import betaincinv

    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, ALPHA))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - ALPHA))
    return low, high


def mean(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean of a figure over worlds, and its 95 % interval by Student's t with worlds − 1 degrees of freedom.

    One world has no interval: how much worlds differ is then not known.
    """
    from scipy.special import stdtrit

    centre, n = fmean(values), len(values)
    if n < 2:
        return centre, None, None
    half = -float(stdtrit(n - 1, ALPHA)) * stdev(values) / math.sqrt(n)
    return centre, centre - half, centre + half
