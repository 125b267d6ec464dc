"""Coverage: how often a 95 % interval holds the truth over new prompts and new seeds, at a reduced number of runs."""

import numpy as np
import pytest

from holdfast.analysis import intervals

RUNS = 500
PROMPT_SD = 1.5
"""How much prompts differ, on the logit scale."""


def mean_of(logit, sd):
    """The expected rate over prompts and seeds whose logits vary by so much together."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    return float((weights / weights.sum()) @ (1 / (1 + np.exp(-logit - sd * nodes))))


def logit_for(rate, seed_sd):
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_of(middle, np.hypot(PROMPT_SD, seed_sd)) < rate else (low, middle)
    return low


def simulated(rng, rate, seeds, seed_sd, runs=RUNS, n_prompts=330, hardness=None):
    """Verdicts of many runs, 1 where a 5 was given: shape [runs, seeds, prompts]."""
    hardness = rng.normal(size=(runs, 1, n_prompts)) if hardness is None else hardness
    logits = logit_for(rate, seed_sd) + PROMPT_SD * hardness + seed_sd * rng.normal(size=(runs, seeds, 1))
    return (rng.random((runs, seeds, n_prompts)) < 1 / (1 + np.exp(-logits))).astype(float)


def share(ends, truth):
    low, high = ends
    assert np.all(low < high)
    return np.mean((low <= truth) & (truth <= high))


def error(runs=RUNS, expected=0.95):
    """Three standard errors of a share of so many runs."""
    return 3 * np.sqrt(expected * (1 - expected) / runs)


@pytest.mark.long
@pytest.mark.parametrize("rate", [0.02, 0.08, 0.5, 0.98])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.3, 0.6, 1.2])
def test_a_rate_over_prompts_and_seeds_is_covered(rate, seeds, seed_sd):
    values = simulated(np.random.default_rng([1, seeds]), rate, seeds, seed_sd)
    covered = share(intervals.of_mean(intervals.spread(values)), rate)
    known_short = rate in (0.02, 0.98) and seeds == 5 and seed_sd == 1.2  # docs/intervals.md: 91 to 92 %
    assert covered >= (0.91 if known_short else 0.93) - error()
    assert covered <= 0.99 + error(expected=0.99)


@pytest.mark.parametrize("rate", [0.02, 0.5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.3, 1.2])
def test_two_seeds_are_covered_too_by_very_wide_intervals(rate, seed_sd):
    values = simulated(np.random.default_rng(2), rate, 2, seed_sd)
    low, high = intervals.of_mean(intervals.spread(values))
    assert share((low, high), rate) >= 0.93 - error()
    assert np.mean(high - low) > 0.15


@pytest.mark.long
@pytest.mark.parametrize(("initial", "tuned"), [(0.005, 0.02), (0.02, 0.08), (0.005, 0.5), (0.02, 0.98)])
@pytest.mark.parametrize("seed_sd", [0.0, 0.6, 1.2])
def test_a_difference_to_an_initial_model_without_seeds_is_covered(initial, tuned, seed_sd):
    rng = np.random.default_rng(3)
    hardness = rng.normal(size=(RUNS, 1, 330))
    after = simulated(rng, tuned, 3, seed_sd, hardness=hardness)
    before = np.repeat(simulated(rng, initial, 1, 0.0, hardness=hardness), 3, axis=1)
    assert share(intervals.of_difference(after, before), tuned - initial) >= 0.93 - error()


@pytest.mark.long
@pytest.mark.parametrize("rate", [0.02, 0.08, 0.5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.3, 1.2])
def test_no_difference_between_recipes_is_found_in_at_most_one_of_twenty(rate, seed_sd):
    rng = np.random.default_rng(4)
    hardness = rng.normal(size=(RUNS, 1, 330))
    one, two = (simulated(rng, rate, 3, seed_sd, hardness=hardness) for _ in range(2))
    low, high = intervals.of_difference(one, two)
    assert np.mean((low > 0) | (high < 0)) <= 0.05 + error()
    assert np.mean(intervals.of_difference(one, two, alpha=0.05)[0] > 0) <= 0.05 + error()


def test_scores_that_are_missing_cost_width_and_not_coverage():
    rng = np.random.default_rng(5)
    values = simulated(rng, 0.3, 3, 0.6)
    gaps = np.where(rng.random(values.shape) < 0.2, np.nan, values)
    gaps[:, 0, 100:] = np.nan  # and one seed was judged on few prompts
    whole, part = (intervals.of_mean(intervals.spread(each)) for each in (values, gaps))
    assert share(part, 0.3) >= 0.92 - error()
    assert np.mean(part[1] - part[0]) > np.mean(whole[1] - whole[0])


def test_complete_values_have_the_mean_squares_of_the_crossed_design():
    values = np.random.default_rng(6).random((4, 9))
    found = intervals.spread(values)
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - columns[None, :] + values.mean()
    assert found.by_seed == pytest.approx(rows.var(ddof=1) / 4)
    assert found.by_prompt == pytest.approx(columns.var(ddof=1) / 9)
    assert found.noise == pytest.approx((rest**2).sum() / (3 * 8) / 36)


def test_where_prompts_show_no_variance_it_is_the_t_interval_of_the_seeds():
    from scipy.special import stdtrit

    values = np.tile([[0.4], [0.5], [0.6]], (1, 50))
    half = stdtrit(2, 0.975) * np.sqrt(0.01 / 3)
    assert intervals.margin(intervals.spread(values), 0.025) == pytest.approx(half**2)


def test_one_seed_or_equal_seeds_give_wilsons_interval():
    from scipy.stats import binomtest

    row = np.array([1.0] * 30 + [0.0] * 300)
    expected = binomtest(30, 330).proportion_ci(method="wilson")
    for rows in (row[None, :], np.stack([row] * 3)):
        low, high = intervals.of_mean(intervals.spread(rows))
        assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=2e-4)


@pytest.mark.parametrize("n_prompts", [1, 2, 4, 330])
@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
def test_no_interval_has_width_zero_or_leaves_the_range(n_prompts, seeds):
    rng = np.random.default_rng(7)
    tables = [np.zeros((seeds, n_prompts)), np.ones((seeds, n_prompts)), np.full((seeds, n_prompts), 0.5)]
    tables += [(rng.random((seeds, n_prompts)) < rate).astype(float) for rate in (0.01, 0.5, 0.99)]
    for values in tables:
        low, high = intervals.of_mean(intervals.spread(values))
        assert 0 <= low < high <= 1
        for other in tables:
            low, high = intervals.of_difference(values, other)
            assert -1 <= low < high <= 1
            assert low <= values.mean() - other.mean() <= high
