"""What a plan promises."""

import numpy as np
import pytest

from holdfast.analysis import paired_rate, power
from holdfast.analysis.power import Design


def test_the_exact_chance_is_that_of_counting_all_outcomes():
    from scipy.stats import multinomial

    n, gained, lost = 60, 0.02, 0.02
    chance = 0.0
    for more in range(15):
        for fewer in range(15):
            if paired_rate.p_below(more, fewer, n, 0.1) <= 0.05:
                chance += multinomial.pmf([more, fewer, n - more - fewer], n, [gained, lost, 1 - gained - lost])
    assert power.chance_to_pass(n, gained, lost, 0.1, 0.05) == pytest.approx(chance, abs=1e-4)


def test_above_400_prompts_the_normal_distribution_is_within_a_point_and_a_half():
    for gained, lost in ((0.01, 0.01), (0.03, 0.03), (0.01, 0.0)):
        exact = power.chance_to_pass(400, gained, lost, 0.03, 0.05)
        assert power._approximate(400, gained, lost, 0.03, 0.05) == pytest.approx(exact, abs=0.015)


def test_at_the_margin_no_design_passes_or_fails_in_more_than_its_error_rates():
    for design in (Design(100), Design(100, base_rate=0.02), Design(100, base_rate=0.08)):
        passes, fails = power.chances(design, design.margin)
        assert passes <= design.alpha_pass and fails <= design.alpha_fail


def test_more_prompts_see_smaller_rises():
    rises = [power.smallest_rise(Design(n, base_rate=0.02), 0.8) for n in (50, 100, 330, 1000)]
    assert all(np.diff(rises) < 0) and rises[-1] > 0.03


def test_100_prompts_are_needed_where_nothing_changes_and_more_where_prompts_turn_both_ways():
    assert power.prompts_needed(0.0, 0.0, 0.03, 0.05, 0.8) in (99, 100, 101)
    assert power.prompts_needed(0.02, 0.02, 0.03, 0.05, 0.8) > 250
    assert power.prompts_needed(0.03, 0.0, 0.03, 0.05, 0.8) is None


def test_the_number_needed_has_the_power_that_was_wanted():
    for base_rate in (0.0, 0.02, 0.08):
        design = Design(330, base_rate=base_rate)
        needed = power.prompts_to_tell(design, 0.0, 0.8)
        assert power.chances(Design(needed, base_rate=base_rate), 0.0)[0] >= 0.77


def test_a_simulation_gives_the_same_chance_each_time():
    design = Design(100, seeds=3, base_rate=0.02)
    assert power.chances(design, 0.0, exact=False) == power.chances(design, 0.0, exact=False)
