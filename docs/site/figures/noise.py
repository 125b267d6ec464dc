"""The noise floor: how far a model's rate moves when nothing that matters has changed."""

import numpy as np

from figures.canvas import COLOURS, svg

PROMPTS, RUNS = 330, 20_000
CHANGE = 0.02
"""The share of prompts whose answer tips over, to either side alike, when a batch is made in another way."""


def draw():
    """The picture, and what it found."""
    rng = np.random.default_rng(0)
    came, went = rng.binomial(PROMPTS, CHANGE / 2, (2, RUNS))
    moved = 100 * (came - went) / PROMPTS
    floors = np.maximum(np.abs(moved), 100 * 1.96 * np.sqrt(came + went) / PROMPTS)
    next_came, next_went = rng.binomial(PROMPTS, CHANGE / 2, (2, RUNS))
    beyond = np.abs(100 * (next_came - next_went) / PROMPTS) > floors
    floor = 100 * 1.96 * np.sqrt(CHANGE * PROMPTS) / PROMPTS
    facts = {
        "share": 100 * CHANGE,
        "prompts": PROMPTS,
        "floor": round(floor, 1),
        "beyond": round(100 * beyond.mean(), 1),
    }

    def picture(axis):
        steps = np.arange(-12, 13) * 100 / PROMPTS
        counts = [np.mean(np.isclose(moved, step)) for step in steps]
        inside = np.abs(steps) <= floor
        axis.bar(steps[inside], np.array(counts)[inside], 0.22, color=COLOURS["base"])
        axis.bar(steps[~inside], np.array(counts)[~inside], 0.22, color=COLOURS["harm"])
        for side in (-floor, floor):
            axis.axvline(side, color=COLOURS["quiet"], linestyle="--", linewidth=1)
        axis.annotate("noise floor", (floor, max(counts)), xytext=(4, -4), textcoords="offset points", va="top")
        axis.set_xlabel("change of the rate when the same model is asked again, points")
        axis.set_yticks([])

    label = (
        f"A model asked twice, with {100 * CHANGE:.0f} percent of {PROMPTS} prompts tipping over by chance: the rate moves "
        f"by up to about {floor:.1f} points, which is the noise floor."
    )
    return svg(picture, label, 7.2, 2.6), facts
