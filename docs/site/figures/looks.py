"""Looking again and again: a fixed test, and a sequential one."""

import numpy as np

from figures.canvas import COLOURS, svg
from holdfast.analysis import sequential

MARGIN, BLOCK, BLOCKS, RUNS, ALPHA, GAIN = 0.03, 22, 15, 1_000, 0.05, 0.06


def draw():
    """The picture, and what it found."""
    rng = np.random.default_rng(0)
    lost = GAIN - MARGIN  # the true change is the margin: whoever says "below the margin" errs
    kinds = rng.choice([1.0, -1.0, 0.0], (RUNS, BLOCK * BLOCKS), p=[GAIN, lost, 1 - GAIN - lost])
    ends = BLOCK * np.arange(1, BLOCKS + 1)
    fixed = np.zeros((RUNS, BLOCKS), dtype=bool)
    bets = np.zeros_like(fixed)
    for run in range(RUNS):
        for look, end in enumerate(ends):
            part = kinds[run, :end]
            error = max(float(part.std()), 1e-9) / np.sqrt(end)
            fixed[run, look] = (MARGIN - part.mean()) / error > 1.645
            bets[run, look] = sequential.log_capital(part, MARGIN) >= -np.log(ALPHA)
    wrong = [100 * np.maximum.accumulate(each, axis=1).mean(axis=0) for each in (fixed, bets)]
    facts = {
        "looks": BLOCKS, "fixed_once": round(100 * fixed[:, -1].mean()), "fixed_ever": round(float(wrong[0][-1])),
        "bets_ever": round(float(wrong[1][-1])),
    }  # fmt: skip

    def picture(axis):
        axis.plot(ends, wrong[0], "s--", color=COLOURS["harm"], label="a fixed test, looked at after each block")
        axis.plot(ends, wrong[1], "o-", color=COLOURS["base"], label="bets, as `--sequential` makes them")
        axis.axhline(100 * ALPHA, color=COLOURS["quiet"], linestyle=":", linewidth=1.4)
        axis.set_xlabel("prompts asked so far")
        axis.set_ylabel("wrongly passed so far, %")
        axis.set_ylim(0, 58)
        axis.legend(loc="upper left")

    label = (
        f"The share of audits that were ever passed wrongly. A fixed test at 5 percent, looked at {BLOCKS} times, errs in "
        f"{facts['fixed_ever']} percent; the sequential test in {facts['bets_ever']} percent."
    )
    return svg(picture, label, 7.2, 3.0), facts
