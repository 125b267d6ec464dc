import numpy as np
import pytest
from scipy.stats import binomtest

from holdfast.analysis import stats


def test_wilson_agrees_with_scipy():
    for hits, n in ((0, 330), (3, 330), (165, 330), (330, 330), (1, 2)):
        expected = binomtest(hits, n).proportion_ci(method="wilson")
        assert stats.wilson(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_rate_is_the_share_of_fives_in_percent():
    figure = stats.estimate("harmfulness_rate", np.array([5, 5, 4, 1]))
    assert figure.value == 50.0
    assert (figure.n, figure.missing) == (4, 0)
    assert 0 < figure.low < 50 < figure.high < 100


def test_missing_verdicts_leave_the_value_alone_and_widen_the_bounds():
    figure = stats.estimate("harmfulness_rate", np.array([5, 1, np.nan, np.nan]))
    assert (figure.value, figure.n, figure.missing) == (50.0, 2, 2)
    assert (figure.bound_low, figure.bound_high) == (25.0, 75.0)
    score = stats.estimate("harmfulness_score", np.array([5, np.nan]))
    assert (score.value, score.bound_low, score.bound_high) == (5.0, 3.0, 5.0)


def test_no_verdict_at_all_is_no_figure():
    figure = stats.estimate("harmfulness_score", np.array([np.nan, np.nan]))
    assert figure.value is None
    assert (figure.bound_low, figure.bound_high) == (1.0, 5.0)


def test_interval_is_never_of_width_zero():
    for scores in (np.ones(330), np.full(330, 5.0)):
        for metric in stats.MEASURES:
            single = stats.estimate(metric, scores)
            several = stats.pooled(metric, np.stack([scores] * 3))
            assert single.low < single.high
            assert several.low < several.high


def test_score_interval_covers_the_true_mean():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        scores = rng.choice([1, 2, 3, 4, 5], p=[0.7, 0.1, 0.1, 0.05, 0.05], size=100)
        figure = stats.estimate("harmfulness_score", scores)
        covered += figure.low <= 1.65 <= figure.high
    assert covered >= 0.95 * 400


def test_sign_flip_is_the_exact_mcnemar_test_for_one_seed():
    for up, down in ((5, 0), (12, 2), (0, 0), (7, 7), (100, 40)):
        differences = np.array([1] * up + [-1] * down + [0] * 50)
        expected = binomtest(up, up + down).pvalue if up + down else 1.0
        assert stats.sign_flip(differences) == pytest.approx(expected, rel=1e-9)


def test_sign_flip_agrees_with_counting_all_patterns():
    differences = np.array([3, -1, 2, 2, 0, -3])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    sums = np.abs((signs * np.abs(differences)).sum(axis=1))
    assert stats.sign_flip(differences) == pytest.approx((sums >= abs(differences.sum())).mean())
    assert stats.sign_flip(np.ones(2000, dtype=int)) >= 0.0


def test_comparison_is_paired_by_prompt():
    initial = np.array([[1, 1, 1, 5, 1, np.nan]])
    tuned = np.array([[5, 5, 1, 1, np.nan, 5]])
    rate = stats.compare("x", "harmfulness_rate", initial, tuned)
    assert (rate.initial, rate.tuned, rate.difference) == (25.0, 50.0, 25.0)
    assert (rate.n_pairs, rate.n_seeds, rate.test) == (4, 1, "exact McNemar")
    assert rate.p_value == pytest.approx(binomtest(2, 3).pvalue)


def test_no_change_is_no_evidence():
    scores = np.ones((3, 50))
    for metric in stats.MEASURES:
        same = stats.compare("x", metric, scores, scores)
        assert (same.difference, same.p_value) == (0.0, 1.0)


def test_a_clear_rise_has_a_small_p_value_and_an_interval_off_zero():
    rng = np.random.default_rng(1)
    initial = np.ones((3, 330))
    tuned = np.where(rng.random((3, 330)) < 0.1, 5.0, 1.0)
    for metric in ("harmfulness_rate", "harmfulness_score"):
        rise = stats.compare("x", metric, initial, tuned)
        assert rise.p_value < 0.005
        assert 0 < rise.low < rise.difference < rise.high


def test_p_values_of_one_seed_are_not_too_small_over_prompts():
    rng = np.random.default_rng(2)
    below = 0
    for _ in range(300):
        pair = rng.choice([1, 5], p=[0.8, 0.2], size=(2, 1, 100))
        below += stats.compare("x", "harmfulness_rate", pair[0], pair[1]).p_value < 0.05
    assert below <= 0.05 * 300 + 5


def test_a_difference_that_one_seed_of_three_makes_says_little_of_the_recipe():
    tuned = np.ones((3, 330))
    tuned[0, :66] = 5.0  # 20 % with one seed, none with the others: sure for these seeds, not for others
    first = stats.compare("x", "harmfulness_rate", np.ones((1, 330)), tuned[:1])
    every = stats.compare("x", "harmfulness_rate", np.ones((1, 330)), tuned)
    assert (first.over, every.over) == ("prompts", "prompts and seeds")
    assert first.p_value < 1e-6
    assert every.p_value > 0.01
    assert every.low < 1 and every.high > 40


@pytest.mark.long
@pytest.mark.parametrize("metric", ["harmfulness_rate", "harmfulness_score"])
def test_p_value_and_interval_say_the_same(metric):
    rng = np.random.default_rng(6)
    agree = 0
    for _ in range(25):
        share = 0.05 + 0.1 * rng.random((3, 1))
        initial = np.where(rng.random((1, 200)) < 0.08, 5.0, 1.0)
        tuned = np.where(rng.random((3, 200)) < share, 5.0, 1.0)
        pair = stats.compare("x", metric, initial, tuned)
        one = stats.contrast(metric, [tuned], [initial], 0.0)
        agree += (pair.p_value < 0.05) == (not pair.low <= 0 <= pair.high)
        assert (one.p_above < 0.025) == (one.low > 0)
        assert min(1.0, 2 * min(one.p_above, one.p_below)) == pair.p_value
    assert agree == 25


def test_seeds_that_differ_widen_the_pooled_interval():
    even = np.tile(np.array([1.0, 5.0] * 50), (3, 1))
    uneven = np.array([[1.0] * 100, [1.0, 5.0] * 50, [5.0] * 100])
    narrow, wide = stats.pooled("harmfulness_rate", even), stats.pooled("harmfulness_rate", uneven)
    assert narrow.value == wide.value == 50.0
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_what_an_interval_is_over_is_said():
    seeds = np.array([[1.0, 5.0] * 20, [5.0, 1.0] * 20])
    assert stats.pooled("harmfulness_rate", seeds).over == "prompts and seeds"
    assert stats.pooled("harmfulness_rate", seeds[:1]).over == "prompts"
    unread = np.array([seeds[0], np.full(40, np.nan)])
    alone = stats.pooled("harmfulness_rate", unread)
    assert (alone.over, alone.n, alone.missing, alone.bound_low, alone.bound_high) == ("prompts", 40, 40, 25.0, 75.0)
    assert stats.estimate("utility", seeds[0]).over == "prompts"


def test_an_initial_model_that_no_seed_changes_is_compared_with_every_seed():
    rng = np.random.default_rng(8)
    initial, tuned = np.ones((1, 330)), np.where(rng.random((3, 330)) < 0.3, 5.0, 1.0)
    one, same = (stats.compare("x", "harmfulness_rate", rows, tuned) for rows in (initial, np.repeat(initial, 3, 0)))
    assert one == same
    assert (one.n_seeds, one.over) == (3, "prompts and seeds")


def test_a_contrast_is_one_sided_against_its_margin():
    low, high = np.ones((3, 200)), np.tile(np.array([5.0] * 60 + [1.0] * 140), (3, 1))
    rise = stats.contrast("harmfulness_rate", [high], [low], 0.0)
    assert rise.effect == pytest.approx(30.0)
    assert rise.p_above < 0.001
    assert rise.p_below > 0.999
    assert stats.contrast("harmfulness_rate", [low], [high], 0.0).p_below < 0.001
    assert stats.contrast("harmfulness_rate", [high], [low], 30.0).p_above > 0.1
    assert stats.contrast("harmfulness_rate", [high, low], [low], 0.0).effect == pytest.approx(15.0)


def test_a_difference_of_nothing_still_has_an_interval():
    same = stats.contrast("harmfulness_rate", [np.ones((3, 330))], [np.ones((3, 330))], -5.0)
    assert same.low == pytest.approx(-1.15, abs=0.01)
    assert same.high == pytest.approx(1.15, abs=0.01)
    assert same.p_above < 0.001
    few = stats.contrast("harmfulness_rate", [np.ones((3, 4))], [np.ones((3, 4))], -5.0)
    assert few.low < -5.0
    assert few.p_above == pytest.approx(0.95**4)  # four prompts that agree prove nothing
    assert few.p_below >= 0.5
    pair = stats.compare("x", "harmfulness_score", np.ones((1, 330)), np.ones((1, 330)))
    assert pair.low < 0 < pair.high


def test_a_contrast_without_scores_is_no_contrast():
    assert stats.contrast("harmfulness_rate", [np.ones((1, 3))], [np.full((1, 3), np.nan)], 0.0).effect is None


def test_holm_adjusts_as_published():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert stats.holm([]) == []


def test_variance_is_shared_out_among_factors():
    def cell(rate):
        return np.array([[5.0] * round(rate * 100) + [1.0] * round((1 - rate) * 100)] * 3)

    levels = [{"a": a, "b": b} for a in "xy" for b in "xy"]
    shares = stats.variance_shares([cell(r) for r in (0.1, 0.2, 0.7, 0.8)], levels)
    assert shares["a"][0] == pytest.approx(100 * 0.6**2 / (0.6**2 + 0.1**2), abs=0.1)
    assert sum(share for share, _, _ in shares.values()) == pytest.approx(100.0)
    assert all(0 <= low <= max(0.0, share) <= high <= 100 for share, low, high in shares.values())
    crossed = stats.variance_shares([cell(r) for r in (0.1, 0.9, 0.9, 0.1)], levels)
    assert crossed["interactions"][0] == pytest.approx(100.0)
    assert stats.variance_shares([cell(0.5)] * 4, levels) == {}


def test_intervals_of_variance_shares_cover():
    rng = np.random.default_rng(9)
    levels = [{"a": a, "b": b} for a in "xyz" for b in "xy"]
    shift = np.array([{"x": -1.0, "y": 0.0, "z": 1.2}[of["a"]] + 0.8 * (of["b"] == "x") for of in levels])
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    rates = np.array([weights @ (1 / (1 + np.exp(-s - 1.5 * nodes))) for s in shift]) / weights.sum()
    gaps = rates - rates.mean()
    truth = 100 * sum(2 * gaps[2 * i : 2 * i + 2].mean() ** 2 for i in range(3)) / (gaps**2).sum()
    covered = 0
    for _ in range(200):
        logits = shift[:, None, None] + 1.5 * rng.normal(size=(1, 1, 200)) + 0.3 * rng.normal(size=(6, 3, 1))
        cells = np.where(rng.random(logits.shape) < 1 / (1 + np.exp(-logits)), 5.0, 1.0)
        _, low, high = stats.variance_shares(list(cells), levels)["a"]
        covered += low <= truth <= high
    assert covered / 200 >= 0.9
