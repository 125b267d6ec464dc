"""What few worlds say of all: exact at every count, and wide."""

import numpy as np
import pytest

from holdfast.analysis import over_worlds


def test_five_of_five_leaves_almost_half_open():
    assert over_worlds.share(5, 5) == pytest.approx((0.4782, 1.0), abs=1e-4)
    assert over_worlds.share(4, 5) == pytest.approx((0.2836, 0.9949), abs=1e-4)
    assert over_worlds.share(0, 5) == pytest.approx((0.0, 0.5218), abs=1e-4)


@pytest.mark.parametrize("truth", [0.1, 0.5, 0.8, 0.95])
def test_the_interval_of_a_share_covers_it_at_least_as_often_as_it_says(truth):
    from scipy.stats import binom

    ends = [over_worlds.share(k, 5) for k in range(6)]
    covered = sum(binom.pmf(k, 5, truth) for k, (low, high) in enumerate(ends) if low <= truth <= high)
    assert covered >= 0.95


def test_the_interval_of_a_mean_covers_it_in_95_of_100_draws():
    rng = np.random.default_rng(0)
    hits = 0
    for values in rng.normal(30.0, 12.0, (1000, 5)):
        _, low, high = over_worlds.mean(values.tolist())
        hits += low <= 30.0 <= high
    assert 930 <= hits <= 970


def test_one_world_has_a_mean_and_no_interval():
    assert over_worlds.mean([12.0]) == (12.0, None, None)
