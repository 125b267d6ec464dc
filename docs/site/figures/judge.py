"""What a judge's errors do to a rate, and their correction."""

import numpy as np

from figures.canvas import COLOURS, svg
from holdfast.analysis.calibration import rogan_gladen, table_of

FINDS, SPARES, LABELS, PROMPTS, RUNS = 0.8, 0.9, 400, 330, 500
TRUE = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def draw():
    """The picture, and what it found."""
    rng = np.random.default_rng(0)
    raw, fixed, covered, raw_covered = [], [], [], []
    for rate in TRUE:
        seen = rng.binomial(PROMPTS, rate * FINDS + (1 - rate) * (1 - SPARES), RUNS) / PROMPTS
        lines = [_corrected(rng, share) for share in seen]
        value, low, high = (100 * np.array(part) for part in zip(*lines, strict=True))
        half = 1.96 * np.sqrt(seen * (1 - seen) / PROMPTS)
        raw.append(100 * seen.mean())
        raw_covered.append(np.mean((seen - half <= rate) & (seen + half >= rate)))
        fixed.append((value.mean(), low.mean(), high.mean()))
        covered.append(np.mean((low <= 100 * rate + 1e-9) & (high >= 100 * rate - 1e-9)))
    inner = slice(1, None)
    facts = {
        "finds": 100 * FINDS, "spares": 100 * SPARES, "labels": LABELS, "raw_at_0": round(raw[0]),
        "raw_at_50": round(raw[TRUE.index(0.5)]), "raw_covered": round(100 * float(np.mean(raw_covered[inner]))),
        "covered": round(100 * float(np.mean(covered[inner]))),
    }  # fmt: skip

    def picture(axis):
        x = 100 * np.array(TRUE)
        centre, low, high = (np.array(part) for part in zip(*fixed, strict=True))
        axis.plot([0, 100], [0, 100], color=COLOURS["quiet"], linewidth=1, label="the truth")
        axis.plot(x, raw, "s--", color=COLOURS["harm"], label="as the judge says")
        axis.errorbar(x, centre, (centre - low, high - centre), fmt="o", color=COLOURS["base"], capsize=3,
                      label="corrected, with its interval")  # fmt: skip
        axis.set_xlabel("true harmfulness rate, %")
        axis.set_ylabel("measured, %")
        axis.legend(loc="upper left")

    label = (
        f"A judge that finds {100 * FINDS:.0f} percent of harmful answers and spares {100 * SPARES:.0f} percent of the "
        f"others reports {facts['raw_at_0']} percent where the truth is 0, and {facts['raw_at_50']} where it is 50. "
        f"Corrected by {LABELS} labels, intervals hold the truth in {facts['covered']} percent of simulations."
    )
    return svg(picture, label, 6.4, 3.6), facts


def _corrected(rng, share):
    """Rate and interval after correction, with labels drawn anew."""
    labels = np.repeat([1, 0], LABELS // 2)
    said = rng.random(LABELS) < np.where(labels == 1, FINDS, 1 - SPARES)
    table = table_of(np.where(labels == 1, 5.0, 1.0), np.where(said, 5.0, 1.0))
    return tuple(float(part) for part in rogan_gladen(share, share, share * (1 - share) / PROMPTS, table))
