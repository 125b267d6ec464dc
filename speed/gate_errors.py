"""How often `holdfast gate` errs, how often it tells, and how many questions `--sequential` saves, as Markdown tables.

    python speed/gate_errors.py [--runs 2000] [--table NAME]

Prompts, and seeds where there are several, are drawn anew in each run; docs/gate.md shows the tables. Every decision is
made by `decide`, as the command makes it, on the harmfulness rate with the default margin of 3 points.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from holdfast.analysis import power, sequential
from holdfast.analysis.decision import Margins, decide
from holdfast.analysis.evidence import Evidence, PairedScores
from holdfast.analysis.simulation import World
from holdfast.core.audit_record import Decision

Array = NDArray[np.float64]

RATE = Margins(harmfulness_score=None, category=None, over_refusal=None, utility=None, broken_answers=None)
"""The default policy's margin of the rate, alone."""
SCORE = Margins(harmfulness_rate=None, category=None, over_refusal=None, utility=None, broken_answers=None,
                required=())  # fmt: skip
"""The default policy's margin of the score, alone."""

MARGIN, SIZES, RATES = 3.0, (100, 330), (0.0, 2.0, 8.0)
SEED_SDS = (0.0, 0.3, 0.6, 1.2)


def evidence(base: Array, tuned: Array, seeds: bool, categories: Sequence[str] | None = None) -> Evidence:
    """Evidence from scores of shape [prompts, columns]."""
    n = len(base)
    names = tuple(categories) if categories is not None else ("any",) * n
    scores = PairedScores(tuple(map(str, range(n))), names, base, tuned, seeds)
    return Evidence("tuned", {"harmfulness": scores})


def scores(fives: Array) -> Array:
    """5 where an answer is harmful, else 1."""
    return 1.0 + 4.0 * fives


def drawn(
    rng: np.random.Generator, n: int, base_rate: float, change: float, seeds: int, sd: float
) -> tuple[Array, Array]:
    """Scores, [prompts, columns], of a base and of the seeds of a recipe that raises its rate by `change` points."""
    world = World(rng, 1, n)
    base = world.drawn(world.logits(base_rate / 100, 1, 0.0))[0].T
    tuned = world.drawn(world.logits((base_rate + change) / 100, seeds, sd if seeds > 1 else 0.0))[0].T
    return scores(base), scores(tuned)


def decisions(
    runs: int, n: int, base_rate: float, change: float, seeds: int = 1, sd: float = 0.0
) -> Iterator[Decision]:
    """The gate's decisions on as many audits."""
    rng = np.random.default_rng([n, round(10 * base_rate), round(10 * change) + 1000, seeds, round(10 * sd)])
    for _ in range(runs):
        yield decide(evidence(*drawn(rng, n, base_rate, change, seeds, sd), seeds > 1), RATE)


def shares(runs: int, *case: float) -> tuple[float, float]:
    """Passes and fails, in percent."""
    answers = [decision.answer for decision in decisions(runs, *case)]  # type: ignore[arg-type]
    return tuple(100 * answers.count(answer) / runs for answer in ("pass", "fail"))  # type: ignore[return-value]


def sampled(runs: int, n: int, base_rate: float, change: float, samples: int) -> tuple[float, float]:
    """Passes and fails, in percent, where each prompt has several answers of one tuned model."""
    rng, answers = np.random.default_rng([n, round(10 * base_rate), samples]), []
    for _ in range(runs):
        world = World(rng, 1, n)
        sides = [
            world.drawn(np.repeat(world.logits(rate / 100, 1, 0.0), samples, axis=1))[0].T
            for rate in (base_rate, base_rate + change)
        ]
        answers.append(decide(evidence(scores(sides[0]), scores(sides[1]), False), RATE).answer)
    return 100 * answers.count("pass") / runs, 100 * answers.count("fail") / runs


def scored(runs: int, n: int, share: float, size: float) -> float:
    """Passes in percent where a share of prompts gains `size` points, which is a rise by the margin of the score."""
    rng, passes = np.random.default_rng([n, round(1000 * share)]), 0
    for _ in range(runs):
        base = np.ones((n, 1))
        tuned = base + size * (rng.random((n, 1)) < share)
        passes += decide(evidence(base, tuned, False), SCORE).answer == "pass"
    return 100 * passes / runs


def stop(base: Array, tuned: Array, categories: Sequence[str], seed: int) -> tuple[str, int]:
    """What `--sequential` answers, and after how many prompts."""
    asked: list[int] = []
    for block in sequential.blocks(categories, seed):
        asked += block
        part = evidence(base[asked], tuned[asked], False, [categories[row] for row in asked])
        answer = decide(part, RATE, "so far").answer
        if answer in ("pass", "fail"):
            return answer, len(asked)
    return decide(part, RATE, "in blocks").answer, len(asked)


def sequentially(
    runs: int, n: int, base_rate: float, change: float, uneven: bool = False
) -> tuple[float, float, float]:
    """Passes, fails and questions saved, in percent.

    `uneven`: categories differ in size, and all harm is in the largest.
    """
    rng, answers, asked = np.random.default_rng([n, round(10 * base_rate), round(10 * change) + 1000, 7]), [], 0
    sizes = np.array([0.3, 0.2, *[0.5 / 9] * 9]) if uneven else np.full(11, 1 / 11)
    ends = np.floor(np.cumsum(sizes) * n + 1e-9)
    categories = [f"c{int(np.searchsorted(ends, row, side='right'))}" for row in range(n)]
    for run in range(runs):
        base, tuned = drawn(rng, n, base_rate, 0.0 if uneven else change, 1, 0.0)
        if uneven:
            tuned = base.copy()
            first = np.array(categories) == "c0"
            tuned[first & (rng.random(n) < change / 100 / first.mean())] = 5.0
        if base_rate == 0 and change == 0:
            tuned = base
        answer, n_asked = stop(base, tuned, categories, run)
        answers.append(answer)
        asked += n_asked
    return (
        100 * answers.count("pass") / runs, 100 * answers.count("fail") / runs, 100 * (1 - asked / (runs * n)),
    )  # fmt: skip


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; figures with one digit."""
    cells = [[f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = [heads, ["---"] * len(heads), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def one_model(runs: int) -> str:
    """One tuned model, greedy answers."""
    rows = []
    for n in SIZES:
        for rate in RATES:
            wrong = shares(runs, n, rate, MARGIN)
            same = shares(runs, n, rate, 0.0)
            alpha = {"alpha_pass": RATE.alpha, "alpha_fail": RATE.alpha}
            design = power.Design(n, base_rate=rate / 100, **alpha)
            planned = power.chances(design, 0.0)[0], power.chances(design, 0.09)[1]
            harmed = shares(runs, n, rate, 9.0)[1]
            rows.append((n, f"{rate:g}", *wrong, same[1], same[0], 100 * planned[0], harmed, 100 * planned[1]))
    heads = ("prompts", "base, %", "wrong passes at +3", "wrong fails at +3", "wrong fails at 0", "passes at 0",
             "planned", "fails at +9", "planned")  # fmt: skip
    return table(heads, rows)


def several_seeds(runs: int) -> str:
    """Several tuned models of one recipe."""
    rows = []
    for n in SIZES:
        for rate in RATES:
            for seeds in (3, 5):
                passes = [shares(runs, n, rate, MARGIN, seeds, sd)[0] for sd in SEED_SDS]
                fails = max(shares(runs, n, rate, MARGIN, seeds, sd)[1] for sd in (0.0, 0.6, 1.2))
                design = power.Design(n, seeds, base_rate=rate / 100, alpha_fail=RATE.alpha)
                same = shares(runs, n, rate, 0.0, seeds, 0.5)
                rows.append((n, f"{rate:g}", seeds, *passes, fails, same[0], 100 * power.chances(design, 0.0)[0]))
    heads = ("prompts", "base, %", "seeds", *(f"wrong passes, sd {sd:g}" for sd in SEED_SDS), "most wrong fails",
             "passes at 0, sd 0.5", "planned")  # fmt: skip
    return table(heads, rows)


def several_samples(runs: int) -> str:
    """Several answers to each prompt; and the score, where few answers change."""
    rows = [
        (n, f"{rate:g}", samples, *sampled(runs, n, rate, MARGIN, samples), *sampled(runs, n, rate, 0.0, samples))
        for n in SIZES for rate in RATES for samples in (2, 5)
    ]  # fmt: skip
    heads = (
        "prompts",
        "base, %",
        "answers",
        "wrong passes at +3",
        "wrong fails at +3",
        "passes at 0",
        "wrong fails at 0",
    )
    return table(heads, rows)


def score(runs: int) -> str:
    """The mean score, raised by its margin of 0.2 in few or many prompts."""
    rows = [
        (f"{100 * share:g} % of prompts by {size:g}", *(scored(runs, n, share, size) for n in SIZES))
        for share, size in ((0.05, 4.0), (0.1, 2.0), (0.2, 1.0))
    ]
    return table(("true change", *(f"wrong passes, n = {n}" for n in SIZES)), rows)


def in_blocks(runs: int) -> str:
    """`--sequential`: errors, and questions saved."""
    cases: list[tuple[str, Callable[[int], tuple[float, float, float]]]] = [
        ("the base against itself (0 %)", partial(sequentially, n=330, base_rate=0.0, change=0.0)),
        ("10-shot harm: 0 to 80 %", partial(sequentially, n=330, base_rate=0.0, change=80.0)),
        ("0 to 20 %", partial(sequentially, n=330, base_rate=0.0, change=20.0)),
        *((f"{rate:g} %, no change", partial(sequentially, n=330, base_rate=rate, change=0.0)) for rate in (2.0, 8.0)),
        *((f"{rate:g} %, raised by 3", partial(sequentially, n=330, base_rate=rate, change=MARGIN)) for rate in RATES),
        ("0 %, raised by 3 in one of 11 unequal categories",
         partial(sequentially, n=330, base_rate=0.0, change=MARGIN, uneven=True)),
    ]  # fmt: skip
    return table(
        ("case, 330 prompts", "passes", "fails", "questions saved"), [(name, *case(runs)) for name, case in cases]
    )


TABLES = {
    "one-model": one_model,
    "seeds": several_seeds,
    "samples": several_samples,
    "score": score,
    "blocks": in_blocks,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulated audits for each cell")
    parser.add_argument("--table", choices=TABLES, help="only this one")
    options = parser.parse_args(arguments)
    for name, made in TABLES.items():
        if options.table in (None, name):
            began = time.perf_counter()
            print(f"### {name}\n\n{made(options.runs)}\n", flush=True)
            print(f"{options.runs} audits a cell; {time.perf_counter() - began:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
