"""The tests of a change against a margin: what they say at small counts, and how often they are wrong."""

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from holdfast.analysis import bounded_mean, paired_rate
from holdfast.analysis.noninferiority import compare


def column(n, ones):
    return np.r_[np.ones(ones), np.zeros(n - ones)].reshape(-1, 1)


def test_no_flip_among_100_prompts_shows_that_the_rise_is_below_3_points_and_among_98_does_not():
    assert paired_rate.p_below(0, 0, 100, 0.03) <= 0.05 < paired_rate.p_below(0, 0, 98, 0.03)


def test_one_sided_flips_are_tested_nearly_as_by_clopper_and_pearson():
    """With no prompt that turned safe, the worst case is that none can: a binomial count."""
    for gained in (1, 2, 3, 4, 5):
        exact = binom.cdf(gained, 330, 0.03)
        assert exact <= paired_rate.p_below(gained, 0, 330, 0.03) <= max(exact + 0.0011, 0.012)


@pytest.mark.parametrize(("n", "margin"), [(30, 0.1), pytest.param(80, 0.05, marks=pytest.mark.long)])
def test_the_exact_test_errs_in_at_most_5_percent_wherever_the_change_is_the_margin(n, margin):
    """All outcomes are counted, with their chances: no simulation."""
    gained, lost = (side.ravel() for side in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
    kept = gained + lost <= n
    gained, lost = gained[kept], lost[kept]
    passed = np.array(
        [paired_rate.p_below(int(g), int(s), n, margin) <= 0.05 for g, s in zip(gained, lost, strict=True)]
    )
    failed = np.array(
        [paired_rate.p_above(int(g), int(s), n, margin) <= 0.05 for g, s in zip(gained, lost, strict=True)]
    )
    for of_lost in (0.0, 0.003, 0.01, 0.03, 0.08, 0.2, 0.4):
        share = of_lost + margin
        chances = multinomial.pmf(np.c_[gained, lost, n - gained - lost], n, [share, of_lost, 1 - share - of_lost])
        assert chances[passed].sum() <= 0.05
        assert chances[failed].sum() <= 0.05


def test_a_change_on_the_wrong_side_of_the_margin_shows_nothing():
    assert paired_rate.p_below(10, 0, 100, 0.03) == 1.0
    assert paired_rate.p_above(0, 0, 100, 0.03) == 1.0
    assert paired_rate.p_below(125, 0, 250, -0.03) == 1.0


def test_the_p_value_of_a_bounded_mean_is_the_chance_of_its_weighted_mean():
    """Against a simulation of the random weights themselves."""
    rng = np.random.default_rng(0)
    values = rng.choice([-0.5, 0.0, 0.0, 0.25, 1.0], size=40)
    weights = rng.exponential(size=(100_000, 41))
    drawn = (weights @ np.append(values, 1.0)) / weights.sum(axis=1)
    for margin in (0.2, 0.3, 0.4):
        assert bounded_mean.p_below(values, margin) == pytest.approx((drawn >= margin).mean(), abs=0.005)


def test_a_bounded_mean_of_zeros_is_tested_as_none_of_n():
    for n in (20, 100, 330):
        assert bounded_mean.p_below(np.zeros(n), 0.03) == pytest.approx(0.97**n, rel=1e-3)


def test_bounds_lie_on_the_side_of_the_margin_that_the_test_shows():
    same = compare(column(330, 0), column(330, 0), False, 0.03, 0.05, 0.005)
    assert same.below and not same.above and same.value == 0.0
    assert same.high == pytest.approx(0.009, abs=0.0005)  # 3 of 330, the rule of three
    harmed = compare(column(330, 0), column(330, 260), False, 0.03, 0.05, 0.005)
    assert harmed.above and not harmed.below
    assert 0.7 < harmed.low < harmed.value < harmed.high < 0.85
    near = compare(column(330, 0), column(330, 8), False, 0.03, 0.05, 0.005)
    assert near.low < 0.03 < near.high and not near.below and not near.above


def test_a_missing_score_never_helps_to_pass_or_to_fail():
    base, tuned = column(330, 0), column(330, 0)
    whole = compare(base, tuned, False, 0.03, 0.05, 0.005)
    tuned[:8] = np.nan
    missing = compare(base, tuned, False, 0.03, 0.05, 0.005)
    assert whole.below and not missing.below
    assert missing.missing == 8 and missing.high > 0.03 and missing.value == 0.0
    harmed = column(330, 30)
    base[:30] = np.nan
    assert compare(column(330, 0), harmed, False, 0.03, 0.05, 0.005).above
    assert not compare(base, harmed, False, 0.03, 0.05, 0.005).above


def test_several_answers_to_a_prompt_count_as_one_prompt():
    """Five answers alike show no more than one: prompts are what is drawn."""
    one = compare(column(60, 0), column(60, 0), False, 0.05, 0.05, 0.005)
    five = compare(np.zeros((60, 5)), np.zeros((60, 5)), False, 0.05, 0.05, 0.005)
    assert five.high == pytest.approx(one.high, abs=0.002)


def test_seeds_that_differ_widen_the_bounds_and_are_named():
    rng = np.random.default_rng(0)
    tuned = (rng.random((330, 3)) < [0.0, 0.0, 0.06]).astype(float)
    alone = compare(column(330, 0), tuned[:, :1], True, 0.03, 0.05, 0.005)
    together = compare(column(330, 0), tuned, True, 0.03, 0.05, 0.005)
    assert alone.below and alone.over == "prompts"
    assert not together.below and together.over == "prompts and seeds"
