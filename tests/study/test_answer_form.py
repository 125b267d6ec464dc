"""A utility set on which the initial model has no right answer says what is most likely wrong."""

from support.results import made, typed

from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Verdict
from holdfast.study.results.answer_form import hint

WRONG = Verdict("p", "scored", 1, "'the symbol of lead is pb'; right is 'pb'")


def results(utility, judge="match-12345678"):
    content = made()
    content["evaluation"]["sets"]["utility"] = {**content["evaluation"]["sets"]["harmfulness"], "judges": [judge]}
    for condition in content["conditions"]:
        condition["utility"] = {**condition["utility"], "value": utility}
    return typed(content)


def test_no_right_answer_is_explained_by_its_form_with_a_pair_where_answers_may_be_shown(tmp_path):
    run_folder = RunFolder(tmp_path)
    run_folder.condition("abc").add_verdicts(
        "utility", "match-12345678", [WRONG, Verdict("q", "unparsed", None, "cut off")]
    )
    hidden, shown = (hint(results(0.0), run_folder, show) for show in (False, True))
    for text in (hidden, shown):
        assert "None of 2 answers" in text and "1 could be read" in text and "`contains: true`" in text
    assert "lead" not in hidden and "`--show-answers`" in hidden
    assert "For example: 'the symbol of lead is pb'; right is 'pb'" in shown


def test_nothing_is_said_where_an_answer_is_right_or_another_judge_reads_them(tmp_path):
    run_folder = RunFolder(tmp_path)
    run_folder.condition("abc").add_verdicts("utility", "match-12345678", [WRONG])
    assert hint(results(0.5), run_folder, True) == ""
    assert hint(results(0.0, "oracle-12345678"), run_folder, True) == ""
    assert hint(typed(made()), run_folder, True) == ""
