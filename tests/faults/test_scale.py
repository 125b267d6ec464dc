"""Many prompts and many conditions: memory stays small, and time grows with their number and no faster.

`HOLDFAST_PROMPTS` and `HOLDFAST_CONDITIONS` say how many; `make attack` sets them to 33,000 and 1,000.
"""

import os
import time
import tracemalloc

import numpy as np
import pytest
from support.scale import measured, write_study

from holdfast.analysis import stats
from holdfast.core.results import RunResults

PROMPTS = int(os.environ.get("HOLDFAST_PROMPTS", "12000"))
CONDITIONS = int(os.environ.get("HOLDFAST_CONDITIONS", "100"))
MEMORY = 1_500_000_000
"""Bytes that a run may take."""
MOST = 3.2
"""How many times the time from a tenth of the prompts to a half of them that from a tenth to all may take: 2.25 where
time is linear, 4.1 where it is quadratic. Each holds the same start, whose noise is as large as a tenth's work."""


def scores(n, conditions=2, seeds=3):
    drawn = np.random.default_rng(0)
    return [drawn.choice([1.0, 2.0, 5.0, np.nan], (seeds, n), p=[0.5, 0.2, 0.25, 0.05]) for _ in range(conditions)]


def every_figure(cells):
    initial, tuned, *_ = cells
    for metric in ("harmfulness_score", "harmfulness_rate"):
        stats.estimate(metric, tuned[0])
        stats.pooled(metric, tuned)
        stats.compare("tuned", metric, initial, tuned)
        stats.compare("tuned", metric, initial[:1], tuned[:1])
        stats.contrast(metric, [tuned], [initial], 0.0)
    stats.variance_shares(cells, [{"a": str(i % 2), "b": str(i // 2)} for i in range(len(cells))])


def test_figures_of_33_000_prompts_take_little_memory():
    cells = scores(33_000, conditions=4)
    tracemalloc.start()
    try:
        every_figure(cells)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 50_000_000


@pytest.mark.long
def test_the_time_for_figures_grows_with_the_number_of_prompts():
    def seconds(n):
        cells, taken = scores(n, conditions=4), []
        every_figure(cells)
        for _ in range(3):
            begun = time.process_time()
            every_figure(cells)
            taken.append(time.process_time() - begun)
        return min(taken)

    assert seconds(66_000) < 15 * seconds(6_600)


def run(folder, n):
    """What a run with so many prompts takes, its answers, verdicts, figures and page."""
    path = write_study(folder, n)
    taken = measured(folder, "run", path, "--out", folder / "run", "--workers", "1")
    summary = {entry.name: entry.harmfulness_rate for entry in RunResults.read(folder / "run").summary}
    assert [estimate.n for estimate in summary.values()] == [n, n]
    assert summary["helpful"].low > summary["initial"].high
    return taken


@pytest.mark.long
def test_a_run_of_many_prompts_takes_bounded_memory_and_linear_time(tmp_path, found):
    tenth, half, many = (run(tmp_path / str(n), n) for n in (PROMPTS // 10, PROMPTS // 2, PROMPTS))
    folder = tmp_path / str(PROMPTS)
    page = measured(folder, "report", folder / "run", "--show-answers")
    doctor = measured(folder, "doctor", folder / "many.yaml", "--out", folder / "doctor")
    most = max(many.bytes, page.bytes, doctor.bytes)
    found("prompts in each of 2 conditions", PROMPTS, many.seconds, most)
    assert most < MEMORY
    assert many.seconds - tenth.seconds < MOST * max(half.seconds - tenth.seconds, 0.5), (tenth, half, many)


@pytest.mark.long
def test_a_run_of_many_conditions_takes_bounded_memory_and_linear_time(tmp_path, found):
    few, many = (conditions(tmp_path / str(n), n) for n in (CONDITIONS // 10, CONDITIONS))
    found("conditions of 11 prompts each", CONDITIONS, many.seconds, many.bytes)
    assert many.bytes < MEMORY
    assert many.seconds < 12 * few.seconds


def conditions(folder, n):
    """What a run with so many conditions takes: half of them initial models, each asked in another way."""
    path = write_study(folder, 11, n // 2)
    taken = measured(folder, "run", path, "--out", folder / "run", "--workers", "1")
    results = RunResults.read(folder / "run")
    assert len(results.conditions) == len(results.summary) == n + 1
    return taken
