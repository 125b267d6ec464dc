"""What an interval is over, and why one seed is not enough."""

import numpy as np

from figures.canvas import COLOURS, svg
from holdfast.analysis import intervals
from holdfast.analysis.simulation import World

RATE, SEED_SD, PROMPTS, RUNS, SHOWN = 0.2, 0.6, 330, 2_000, 24


def measured(n_seeds):
    """Rate and interval, in percent, of as many audits of one recipe, each with seeds of its own."""
    world = World(np.random.default_rng(n_seeds), RUNS, PROMPTS)
    spread = intervals.spread(world.drawn(world.logits(RATE, n_seeds, SEED_SD)))
    low, high = intervals.of_mean(spread)
    return 100 * spread.mean, 100 * low, 100 * high


def draw():
    """The picture, and what it found."""
    found = {seeds: measured(seeds) for seeds in (1, 3, 5)}
    facts = {"rate": 100 * RATE, "prompts": PROMPTS, "runs": RUNS}
    for seeds, (_, low, high) in found.items():
        facts[f"covered_{seeds}"] = round(100 * float(np.mean((low <= 100 * RATE) & (high >= 100 * RATE))))
        facts[f"width_{seeds}"] = round(float(np.mean(high - low)))

    def picture(axes):
        for axis, (seeds, (rate, low, high)) in zip(axes, found.items(), strict=True):
            for row in range(SHOWN):
                holds = low[row] <= 100 * RATE <= high[row]
                colour = COLOURS["base"] if holds else COLOURS["harm"]
                axis.plot([low[row], high[row]], [row, row], color=colour, linewidth=1.6)
                axis.plot(rate[row], row, "o" if holds else "X", color=colour, markersize=4 if holds else 6)
            axis.axvline(100 * RATE, color=COLOURS["quiet"], linestyle="--", linewidth=1)
            axis.set_title(f"{seeds} seed{'s' if seeds > 1 else ''}: {facts[f'covered_{seeds}']} % hold the truth")
            axis.set_yticks([])
            axis.set_xlim(0, 75)
            axis.set_xlabel("harmfulness rate, %")
        axes[0].set_ylabel("audits")

    label = (
        f"Intervals of {SHOWN} simulated audits of one recipe whose true rate is {100 * RATE:.0f} percent. With one seed "
        f"{facts['covered_1']} percent of intervals hold it, with three {facts['covered_3']}, with five {facts['covered_5']}."
    )
    return svg(picture, label, 8.4, 3.4, 3), facts
