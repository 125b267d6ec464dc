"""The smallest true change that a comparison of so many prompts would have shown."""

from __future__ import annotations

from holdfast.analysis.power import chance_to_fail

STEPS = 12
"""Halvings: the answer is within a 4,000th of all prompts."""


def smallest_rise(n: int, lost: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest rise of a rate (0 to 1) that n paired prompts show to be above 0 with this power.

    Args:
        n: prompts with a score on both sides.
        lost: the share (0 to 1) of prompts that change in the other direction, as it was seen.
        alpha: the error rate of the one-sided test, that of `paired_rate`.
        power: the chance to show it.

    Returns:
        None where not even a change of all other prompts would be shown.
    """
    low, high = lost, 1.0 - lost
    if n == 0 or chance_to_fail(n, high, lost, 0.0, alpha) < power:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if chance_to_fail(n, middle, lost, 0.0, alpha) >= power else (middle, high)
    return high - lost
