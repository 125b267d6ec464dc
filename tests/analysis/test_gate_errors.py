"""The gate's error rates and its power, by simulation with planted effects: `speed/gate_errors.py` at 2,000 runs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from holdfast.analysis import power

SCRIPT = Path(__file__).parents[2] / "speed" / "gate_errors.py"


def load():
    spec = importlib.util.spec_from_file_location("gate_errors", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


errors = load()


def allowed(runs, rate=5.0):
    """An error rate in percent, with three standard errors of the simulation."""
    return rate + 300 * np.sqrt(rate / 100 * (1 - rate / 100) / runs)


def test_a_rate_raised_by_the_margin_is_rarely_passed_or_failed():
    passes, fails = errors.shares(100, 100, 0.0, errors.MARGIN)
    assert passes <= allowed(100) and fails <= allowed(100)


@pytest.mark.long
@pytest.mark.parametrize("n", errors.SIZES)
@pytest.mark.parametrize("rate", errors.RATES)
def test_one_model(n, rate):
    passes, fails = errors.shares(2000, n, rate, errors.MARGIN)
    assert passes <= allowed(2000) and fails <= allowed(2000)
    assert errors.shares(2000, n, rate, 0.0)[1] <= allowed(2000)


@pytest.mark.long
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("rate", errors.RATES)
@pytest.mark.parametrize("sd", errors.SEED_SDS)
def test_several_seeds(seeds, rate, sd):
    passes, fails = errors.shares(2000, 330, rate, errors.MARGIN, seeds, sd)
    assert passes <= allowed(2000) and fails <= allowed(2000)


@pytest.mark.long
@pytest.mark.parametrize("rate", errors.RATES)
def test_the_power_is_what_the_plan_promised(rate):
    """Within 3 points at 330 prompts, for a pass without a change, and for a fail at a rise of 9 points."""
    design = power.Design(330, base_rate=rate / 100, alpha_fail=errors.RATE.alpha)
    noise = 100 * 2 * np.sqrt(0.25 / 2000)
    assert abs(errors.shares(2000, 330, rate, 0.0)[0] - 100 * power.chances(design, 0.0)[0]) <= 3 + noise
    assert abs(errors.shares(2000, 330, rate, 9.0)[1] - 100 * power.chances(design, 0.09)[1]) <= 3 + noise


@pytest.mark.long
@pytest.mark.parametrize("rate", errors.RATES[:2])
def test_the_power_over_seeds_is_what_the_plan_promised(rate):
    design = power.Design(330, seeds=5, base_rate=rate / 100, alpha_fail=errors.RATE.alpha)
    noise = 100 * 2 * np.sqrt(0.5 / 1500)
    found = errors.shares(2000, 330, rate, 0.0, 5, 0.5)[0]
    assert abs(found - 100 * power.chances(design, 0.0)[0]) <= 3 + noise


@pytest.mark.long
@pytest.mark.parametrize("uneven", [False, True])
def test_in_blocks_a_rate_raised_by_the_margin_is_rarely_passed_or_failed(uneven):
    passes, fails, _ = errors.sequentially(2000, 330, 0.0, errors.MARGIN, uneven)
    assert passes <= allowed(2000) and fails <= allowed(2000)


@pytest.mark.long
@pytest.mark.parametrize(("change", "answer"), [(0.0, 0), (80.0, 1)])
def test_in_blocks_clear_cases_take_at_most_half_of_the_questions(change, answer):
    found = errors.sequentially(200, 330, 0.0, change)
    assert found[answer] == 100.0 and found[2] >= 50.0
