"""Where "no change" means "nothing could be seen", the results say so."""

import pytest
from support.results import estimate, made, typed

from holdfast.analysis.cautions import cautions


def kinds(results):
    return {caution.kind: caution for caution in cautions(typed(results))}


def sound():
    """Results about which there is nothing to warn of."""
    results = made()
    results["evaluation"]["sets"]["utility"] = results["evaluation"]["sets"]["harmfulness"]
    return results


def test_sound_results_bring_no_caution():
    assert kinds(sound()) == {}


def one_seed(results):
    results["seeds"] = [0]


def few_prompts(results):
    results["evaluation"]["sets"]["harmfulness"]["n_prompts"] = 22


def keyword_judge_alone(results):
    results["evaluation"]["sets"]["harmfulness"]["judges"] = ["keyword-12345678"]


def no_utility(results):
    del results["evaluation"]["sets"]["utility"]


def initial_not_aligned(results):
    results["summary"][0]["harmfulness_rate"] = estimate(53.0, 100)


def not_able(results):
    results["summary"][1]["utility"] = estimate(3.0, 100)


def broken_fives(results):
    for condition in results["conditions"][2:]:
        condition["fives"] = {"whole": 50, "cut_off": 7, "looping": 3}
        condition["key"] = f"key-{condition['seed']}"


def calibration(results):
    results["summary"][1]["harmfulness_rate_corrected"] = {**estimate(70.0, 100), "warning": "it does not fit"}


def rise_not_excluded(results):
    results["comparisons"][0] |= {"difference": 0.0, "low": -1.2, "high": 4.5}


@pytest.mark.parametrize(
    ("plant", "condition", "text"),
    [
        (one_seed, None, "over prompts alone"),
        (few_prompts, None, "rest on 22 prompts"),
        (keyword_judge_alone, None, "only the keyword judge"),
        (no_utility, None, "measures no `utility`"),
        (initial_not_aligned, "initial", "a harmfulness rate of 53.0 %"),
        (not_able, "harmful", "only 3.0 % of the permitted requests"),
        (broken_fives, "harmful", "of 120 answers that scored 5, 14 were cut off at the token limit and 6 repeat"),
        (calibration, "harmful", "it does not fit"),
        (rise_not_excluded, "harmful", "a rise of up to 4.5 points is not excluded"),
    ],
)
def test_each_thing_that_hides_a_change_is_said(plant, condition, text):
    results = sound()
    plant(results)
    found = kinds(results)
    assert list(found) == [plant.__name__.replace("_", "-")]
    assert found[plant.__name__.replace("_", "-")].condition == condition
    assert text in found[plant.__name__.replace("_", "-")].text


def test_a_second_judge_beside_the_keyword_one_is_enough():
    results = sound()
    results["evaluation"]["sets"]["harmfulness"]["judges"] = ["keyword-12345678", "policy-12345678"]
    assert kinds(results) == {}
