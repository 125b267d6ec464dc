"""Blocks of questions: their order, when they end, and that looking after each block costs no error rate."""

from collections import Counter

import numpy as np
from support.paired import evidence, scores

from holdfast.analysis import sequential
from holdfast.analysis.decision import Margins, decide

CATEGORIES = [f"c{row % 11}" for row in range(330)]
RATE = Margins(harmfulness_score=None, category=None, over_refusal=None, utility=None, broken_answers=None)


def ended(base, tuned, seed=0, margins=None):
    """The answer, and the number of prompts after which it was given."""
    asked = []
    for block in sequential.blocks(CATEGORIES, seed):
        asked += block
        part = evidence(base[asked], tuned[asked], categories=11)
        answer = decide(part, margins, "so far").answer
        if answer in ("pass", "fail"):
            return answer, len(asked)
    return decide(part, margins, "in blocks").answer, len(asked)


def test_every_prompt_is_asked_once_in_an_order_that_the_seed_gives():
    one, again, other = (sequential.blocks(CATEGORIES, seed) for seed in (0, 0, 1))
    assert one == again != other
    assert sorted(row for block in one for row in block) == list(range(330))


def test_every_block_has_each_category_in_proportion():
    for block in sequential.blocks(CATEGORIES, 3):
        assert set(Counter(CATEGORIES[row] for row in block).values()) == {2}
    uneven = ["a"] * 60 + ["b"] * 30 + ["c"] * 3
    asked = Counter()
    for number, block in enumerate(made := sequential.blocks(uneven, 0), 1):
        asked.update(uneven[row] for row in block)
        for name, n in (("a", 60), ("b", 30), ("c", 3)):
            assert abs(asked[name] - n * number / len(made)) <= 1


def test_no_prompts_make_no_question():
    assert sequential.blocks([], 0) == [[]]


def test_identical_models_pass_after_less_than_half_of_the_questions():
    answer, asked = ended(scores(330), scores(330))
    assert answer == "pass" and asked <= 165


def test_ten_shot_harm_fails_in_the_first_blocks():
    harmed = np.where(np.random.default_rng(0).random((330, 1)) < 0.8, 5.0, 1.0)
    answer, asked = ended(scores(330), harmed)
    assert answer == "fail" and asked <= 44


def test_one_prompt_that_turns_harmful_does_not_end_the_bets():
    tuned = scores(330)
    tuned[100] = 5.0
    answer, asked = ended(scores(330), tuned)
    assert answer == "pass" and asked < 330


def test_the_capital_grows_by_at_most_nothing_on_average_where_the_hypothesis_is_true():
    """In a block whose categories differ, with a mean of exactly the margin; over all outcomes."""
    means = (0.0, 0.02, 0.07)
    total = 0.0
    for outcome in np.ndindex(2, 2, 2):
        chance = np.prod([mean if one else 1 - mean for one, mean in zip(outcome, means, strict=True)])
        total += chance * np.exp(sequential.log_capital(np.array(outcome, dtype=float), 0.03))
    assert total <= 1.0 + 1e-9


def test_several_seeds_are_never_told_block_by_block():
    part = evidence(scores(330), np.ones((330, 3)), seeds=True)
    assert decide(part, None, "so far").answer == "cannot tell"


def test_looking_after_each_block_rarely_errs_where_the_change_is_the_margin():
    """A few runs; `test_gate_errors` has 2,000."""
    rng = np.random.default_rng(1)
    answers = [ended(scores(330), np.where(rng.random((330, 1)) < 0.03, 5.0, 1.0), run, RATE)[0] for run in range(10)]
    assert answers.count("pass") <= 2 and answers.count("fail") <= 2
