"""Evidence for gates, from scores of our choice."""

import numpy as np

from holdfast.analysis.evidence import Evidence, PairedScores


def scores(n, fives=0, value=5.0, rest=1.0):
    """n scores, of which the first `fives` are `value`, as one column."""
    return np.r_[np.full(fives, value), np.full(n - fives, rest)].reshape(-1, 1)


def paired(base, tuned, seeds=False, categories=11):
    """Scores of base and tuned model on the same prompts, whose categories take turns."""
    base, tuned = (np.asarray(side, dtype=float) for side in (base, tuned))
    names = tuple(f"c{row % categories}" for row in range(len(base)))
    return PairedScores(tuple(map(str, range(len(base)))), names, base, tuned, seeds)


def evidence(base, tuned, seeds=False, categories=11, sets=None, **more):
    """Evidence on the harmfulness set, and on others by name."""
    return Evidence("tuned", {"harmfulness": paired(base, tuned, seeds, categories), **(sets or {})}, **more)
