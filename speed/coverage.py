"""How often the intervals hold the truth, by simulation, as Markdown tables of coverage and mean width.

    python speed/coverage.py [--runs 2000] [--prompts 330]

Prompts differ by a normal effect of sd 1.5 on the logit scale, seeds by one of sd 0 to 1.2. The truth is the expected
figure over new prompts *and* new seeds. Each run draws both anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.analysis import intervals
from holdfast.analysis.simulation import PROMPT_SD, World, expected, logit_of

Array = NDArray[np.float64]
Ends = tuple[Array, Array]

SEEDS = (2, 3, 5, 10)
SEED_SDS = (0.0, 0.3, 0.6, 1.2)
RATES = (0.02, 0.08, 0.5, 0.92, 0.98)
INITIAL = 0.005
"""Rate of the initial model that `compare` is shown with; its answers are the same for every seed."""
LOWER_SCORES = (2.0, 1.4, 0.7)
"""On the logit scale, by how much likelier a score of at least 2, 3 and 4 is than a 5."""


def pooled(world: World, rate: float, seeds: int, seed_sd: float) -> tuple[Ends, float]:
    """A rate over prompts and seeds."""
    return intervals.of_mean(intervals.spread(world.drawn(world.logits(rate, seeds, seed_sd)))), rate


def pooled_score(world: World, rate: float, seeds: int, seed_sd: float) -> tuple[Ends, float]:
    """The mean score, on 0 to 1, of a condition with this rate of 5s."""
    logits = world.logits(rate, seeds, seed_sd)
    chance, steps = world.rng.random(logits.shape), (*LOWER_SCORES, 0.0)
    scores = np.sum([chance < 1 / (1 + np.exp(-logits - step)) for step in steps], axis=0) / 4
    sd = np.hypot(PROMPT_SD, seed_sd)
    truth = float(np.mean([expected(logit_of(rate, seed_sd) + step, sd) for step in steps]))
    return intervals.of_mean(intervals.spread(scores)), truth


def compare(world: World, rate: float, seeds: int, seed_sd: float) -> tuple[Ends, float]:
    """A tuned condition minus the initial model, whose answers no seed changes."""
    tuned = world.drawn(world.logits(rate, seeds, seed_sd))
    initial = np.repeat(world.drawn(world.logits(INITIAL, 1, 0.0)), seeds, axis=1)
    return intervals.of_difference(tuned, initial), rate - INITIAL


def contrast(world: World, rate: float, seeds: int, seed_sd: float) -> tuple[Ends, float]:
    """Two recipes of equal rate whose seeds have nothing in common: 100 minus coverage is the error of a test."""
    one, two = (world.drawn(world.logits(rate, seeds, seed_sd)) for _ in range(2))
    return intervals.of_difference(one, two), 0.0


def contrast_related(world: World, rate: float, seeds: int, seed_sd: float) -> tuple[Ends, float]:
    """The same, with seeds that are correlated by 0.7, as of one run at two epochs."""
    draws = world.rng.normal(size=(3, world.shape[0], seeds, 1))
    effects = np.sqrt(0.7) * draws[0] + np.sqrt(0.3) * draws[1:]
    one, two = (world.drawn(world.logits(rate, seeds, seed_sd, effect)) for effect in effects)
    return intervals.of_difference(one, two), 0.0


FIGURES: dict[str, Callable[[World, float, int, float], tuple[Ends, float]]] = {
    "pooled, rate": pooled,
    "pooled, score": pooled_score,
    "compare, rate": compare,
    "contrast, seeds unrelated": contrast,
    "contrast, seeds related": contrast_related,
}


def cell(name: str, rate: float, seeds: int, seed_sd: float, runs: int, prompts: int) -> str:
    """Coverage in percent and, in brackets, the mean width in percent of the range."""
    rng = np.random.default_rng([list(FIGURES).index(name), int(1000 * rate), seeds, int(10 * seed_sd)])
    inside, width = 0, 0.0
    for size in [100] * (runs // 100):
        (low, high), truth = FIGURES[name](World(rng, size, prompts), rate, seeds, seed_sd)
        inside, width = inside + int(np.sum((low <= truth) & (truth <= high))), width + float(np.sum(high - low))
    done = 100 * (runs // 100)
    return f"{100 * inside / done:.1f} ({100 * width / done:.1f})"


def table(name: str, runs: int, prompts: int) -> str:
    """One figure's coverage: a row for each number of seeds and rate, a column for each sd of seeds."""
    lines = [
        f"| seeds | rate, % | {' | '.join(f'sd {sd:g}' for sd in SEED_SDS)} |",
        "| --- " * (2 + len(SEED_SDS)) + "|",
    ]
    for seeds in SEEDS:
        for rate in RATES:
            cells = (cell(name, rate, seeds, sd, runs, prompts) for sd in SEED_SDS)
            lines.append(f"| {seeds} | {100 * rate:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs for each cell, a multiple of 100")
    parser.add_argument("--prompts", type=int, default=330, help="prompts of a run")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    for name in FIGURES:
        print(f"### {name}\n\n{table(name, options.runs, options.prompts)}\n", flush=True)
    print(f"{options.runs} runs a cell, {options.prompts} prompts; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
