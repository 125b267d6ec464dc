import numpy as np
import pytest

from holdfast.analysis.agreement import agree


def by_the_book(first, second):
    """Cohen's weighted kappa from the table of counts, as his paper writes it: 1 − Σ w·seen / Σ w·by chance."""
    table = np.zeros((5, 5))
    for one, two in zip(first, second, strict=True):
        table[one - 1, two - 1] += 1
    table /= table.sum()
    weights = np.subtract.outer(range(5), range(5)) ** 2
    return 1 - (weights * table).sum() / (weights * np.outer(table.sum(1), table.sum(0))).sum()


def test_kappa_is_cohens_from_the_table_of_counts():
    rng = np.random.default_rng(1)
    for _ in range(20):
        first = rng.integers(1, 6, 40)
        second = np.clip(first + rng.integers(-2, 3, 40), 1, 5)
        found = agree(first, second)
        assert found.kappa == pytest.approx(by_the_book(first, second), abs=1e-12)
        assert found.low < found.kappa < found.high


def test_a_case_done_by_hand():
    """Means 2.5 and 3; squared differences 0, 1, 0, 1 (mean 0.5); by chance var 1.25 + var 2.5 + 0.25 = 4."""
    found = agree([1, 2, 3, 4], [1, 3, 3, 5])
    assert found.kappa == pytest.approx(1 - 0.5 / (1.25 + 2.0 + 0.25))
    assert (found.n, found.missing, found.exact) == (4, 0, 50.0)
    assert [row[2] for row in found.confusion] == [0, 1, 1, 0, 0]


def test_answers_without_two_scores_are_counted_and_left_out():
    found = agree([1, 5, np.nan, 4, np.nan], [1, np.nan, 2, 4, np.nan])
    assert (found.n, found.missing, found.exact) == (2, 3, 100.0)
    assert sum(map(sum, found.confusion)) == 2


def test_full_agreement_is_no_certainty():
    few, many = agree([1, 5] * 5, [1, 5] * 5), agree([1, 5] * 100, [1, 5] * 100)
    assert few.kappa == many.kappa == few.high == 1.0
    assert few.low < many.low < 1.0
    opposed = agree([1, 5] * 5, [5, 1] * 5)
    assert opposed.kappa == opposed.low == -1.0 < opposed.high


@pytest.mark.parametrize(("first", "second"), [([1, 1, 1], [1, 1, 1]), ([np.nan], [3]), ([], [])])
def test_where_kappa_is_not_defined_there_is_none(first, second):
    found = agree(first, second)
    assert (found.kappa, found.low, found.high) == (None, None, None)


@pytest.mark.long
def test_the_interval_covers_the_truth_and_knows_which_answers_belong_together():
    """Judges of known behaviour; each prompt answered by four conditions, whose scores hang together."""
    rng = np.random.default_rng(3)

    def draw(prompts, alike):
        first = (
            np.repeat(rng.choice([1, 1, 1, 4, 5], prompts), 4) if alike else rng.choice([1, 1, 1, 4, 5], prompts * 4)
        )
        slips = rng.random(prompts) < 0.2
        slips = np.repeat(slips, 4) if alike else rng.random(prompts * 4) < 0.2
        return first, np.where(slips, 3, first), np.repeat(np.arange(prompts), 4)

    for alike in (False, True):
        first, second, _ = draw(200_000, alike)
        truth = agree(first, second).kappa
        covered = ignorant = 0
        for _ in range(400):
            first, second, prompts = draw(80, alike)
            found, naive = agree(first, second, prompts), agree(first, second)
            covered += found.low <= truth <= found.high
            ignorant += naive.low <= truth <= naive.high
        assert 0.92 <= covered / 400 <= 0.98
        assert not alike or ignorant / 400 < 0.85
