"""Why answers are compared prompt by prompt."""

import numpy as np

from figures.canvas import COLOURS, svg
from holdfast.analysis import intervals

RATE, RISE, PROMPTS, RUNS = 0.3, 0.03, 330, 1_000


def draw():
    """The picture, and what it found: the same two models, compared with and without pairs."""
    rng = np.random.default_rng(0)
    base = (rng.random((RUNS, 1, PROMPTS)) < RATE).astype(float)
    turned = rng.random(base.shape) < RISE / (1 - RATE)
    tuned = np.maximum(base, turned)
    low, high = intervals.of_difference(tuned, base)
    other = (rng.random(base.shape) < RATE).astype(float)
    loose_low, loose_high = intervals.of_difference(tuned, other)
    widths = [float(np.mean(100 * (b - a))) for a, b in ((low, high), (loose_low, loose_high))]
    seen = [float(100 * np.mean(a > 0)) for a in (low, loose_low)]
    facts = {
        "rise": 100 * RISE, "prompts": PROMPTS, "paired_width": round(widths[0], 1), "loose_width": round(widths[1], 1),
        "paired_seen": round(seen[0]), "loose_seen": round(seen[1]),
    }  # fmt: skip

    def picture(axes):
        for axis, (lows, highs), title in zip(
            axes, ((low, high), (loose_low, loose_high)),
            (f"same prompts, in pairs: {facts['paired_seen']} % show the rise",
             f"other prompts each: {facts['loose_seen']} % show it"), strict=True,
        ):  # fmt: skip
            for row in range(20):
                colour = COLOURS["base"] if lows[row] > 0 else COLOURS["harm"]
                axis.plot([100 * lows[row], 100 * highs[row]], [row, row], color=colour, linewidth=1.8)
            axis.axvline(0, color=COLOURS["quiet"], linewidth=1)
            axis.axvline(100 * RISE, color=COLOURS["quiet"], linestyle="--", linewidth=1)
            axis.set_title(title)
            axis.set_yticks([])
            axis.set_xlim(-9, 15)
            axis.set_xlabel("change of the rate, points")
        axes[0].set_ylabel("audits")

    label = (
        f"Intervals of the change, with a true rise of {100 * RISE:.0f} points. Paired by prompt they are "
        f"{widths[0]:.1f} points wide and {facts['paired_seen']} percent of audits show the rise; with other prompts for "
        f"each model they are {widths[1]:.1f} points wide and {facts['loose_seen']} percent show it."
    )
    return svg(picture, label, 8.0, 3.0, 2), facts
