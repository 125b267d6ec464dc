import json
from itertools import product

import numpy as np
import pytest
from support.studies import rows_of, write_rows
from typer.testing import CliRunner

from holdfast.analysis import calibration, stats
from holdfast.analysis.calibration import calibrate, prediction_powered, rogan_gladen
from holdfast.cli import app
from holdfast.core.budget import NoBudget
from holdfast.core.config import label
from holdfast.core.errors import DataError, StudyError
from holdfast.judges import calibrate as labels
from holdfast.judges.keyword import Keyword
from holdfast.study import loader

RUNS = 1000
REFUSAL = "I'm sorry, but I cannot help with that."
NAN = float("nan")


def made(both=40, only_label=10, only_judge=6, neither=54, missing=0, **changes):
    """A calibration with so many answers of each kind."""
    kinds = [(5, 5)] * both + [(5, 1)] * only_label + [(1, 5)] * only_judge + [(1, 1)] * neither + [(5, None)] * missing
    rows = {f"{i:016x}": kind for i, kind in enumerate(kinds)}
    return calibrate("keyword-1", "labels.jsonl", rows, **changes)


def raw_intervals(said, n):
    """Centre and variance of the raw rates' Wilson intervals, as `correct` takes them from an estimate."""
    ends = np.array([stats.wilson(share, n) for share in said / n])
    return ends.mean(axis=1), (np.ptp(ends, axis=1) / 2 / stats.Z) ** 2


SETTINGS = list(product([0.05, 0.3, 0.8], [(0.8, 0.9), (0.95, 0.97)]))


@pytest.mark.parametrize(("truth", "judge"), SETTINGS)
def test_corrected_by_error_rates_the_interval_covers_the_truth(truth, judge):
    """A scripted judge of known error rates on 330 answers; 400 labelled elsewhere, half of them harmful."""
    (found, spared), rng = judge, np.random.default_rng(11)
    said = rng.binomial(330, truth * found + (1 - truth) * (1 - spared), RUNS)
    both, neither = rng.binomial(200, found, RUNS), rng.binomial(200, spared, RUNS)
    table = both, 200 - both, 200 - neither, neither
    value, low, high = rogan_gladen(said / 330, *raw_intervals(said, 330), table)
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97
    assert abs(value.mean() - truth) < 0.01
    if abs(said.mean() / 330 - truth) > 0.02:
        raw = np.mean([a <= truth <= b for a, b in (stats.wilson(share, 330) for share in said / 330)])
        assert raw < 0.9


@pytest.mark.parametrize(("truth", "judge"), SETTINGS)
def test_corrected_by_its_own_labelled_answers_the_interval_covers_the_truth(truth, judge):
    """The same judge; 150 of the 330 answers themselves are labelled."""
    (found, spared), rng = judge, np.random.default_rng(12)
    cells = [truth * found, truth * (1 - found), (1 - truth) * (1 - spared), (1 - truth) * spared]
    labelled, others = rng.multinomial(150, cells, RUNS), rng.multinomial(180, cells, RUNS)
    said = (labelled + others)[:, [0, 2]].sum(axis=1)
    value, low, high = prediction_powered(said / 330, *raw_intervals(said, 330), 330, labelled.T)
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97
    assert abs(value.mean() - truth) < 0.01


def test_the_value_is_rogan_and_gladens_by_hand():
    """80 % found, 90 % spared, 45 % said: (0.45 + 0.9 − 1) / 0.7 = 50 %."""
    raw = stats.estimate("harmfulness_rate", np.array([5.0] * 45 + [1.0] * 55))
    unlabelled = np.full(100, NAN)
    fixed = made(40, 10, 6, 54).correct(raw, unlabelled, unlabelled)
    assert fixed.value == pytest.approx(50.0)
    assert fixed.low < 50 < fixed.high
    assert fixed.high - fixed.low > raw.high - raw.low
    assert fixed.method.startswith("Rogan–Gladen, 110 labelled answers")


def test_the_interval_is_lang_and_reiczigels():
    """Their formula written out from the counts; ours takes the raw rate's variance from Wilson, a hair smaller."""
    n, share, found, spared = 1000, 0.45, 41 / 52, 55 / 62
    z2 = stats.Z**2
    apparent = (n * share + z2 / 2) / (n + z2)
    truth = (apparent + spared - 1) / (found + spared - 1)
    a, b = found * (1 - found) / 52, spared * (1 - spared) / 62
    middle = truth + 2 * z2 * (truth * a - (1 - truth) * b)
    spread = apparent * (1 - apparent) / (n + z2) + truth**2 * a + (1 - truth) ** 2 * b
    half = stats.Z * np.sqrt(spread) / (found + spared - 1)
    low, high = stats.wilson(share, n)
    ours = rogan_gladen(share, (low + high) / 2, ((high - low) / 2 / stats.Z) ** 2, (40, 10, 6, 54))[1:]
    assert ours == pytest.approx((middle - half, middle + half), abs=1e-3)


def test_own_labels_are_used_only_if_drawn_at_random_and_enough():
    scores = np.array([5.0] * 60 + [1.0] * 40)
    raw = stats.estimate("harmfulness_rate", scores)
    truth = np.array([5.0] * 45 + [1.0] * 55)
    some = np.where(np.arange(100) % 2 == 0, truth, NAN)
    few = np.where(np.arange(100) % 5 == 0, truth, NAN)
    methods = [
        made(random_sample=drawn).correct(raw, known, scores).method.partition(",")[0]
        for drawn, known in [(True, some), (True, few), (False, some)]
    ]
    assert methods == ["prediction-powered", "Rogan–Gladen", "Rogan–Gladen"]
    fixed = made(random_sample=True).correct(raw, some, scores)
    assert fixed.value == pytest.approx(60 - 14)
    assert fixed.low < 45 < fixed.high


def test_a_rate_without_errors_in_its_calibration_still_has_a_wider_interval():
    raw = stats.estimate("harmfulness_rate", np.array([1.0] * 50))
    fixed = made(30, 0, 0, 30).correct(raw, np.full(50, NAN), np.full(50, NAN))
    assert (fixed.value, fixed.low) == (0.0, 0.0)
    assert fixed.high > raw.high
    full = stats.estimate("harmfulness_rate", np.array([5.0] * 50))
    fixed = made(30, 0, 0, 30).correct(full, np.full(50, NAN), np.full(50, NAN))
    assert fixed.high == fixed.value == 100.0 > fixed.low


@pytest.mark.parametrize("harmful", [False, True])
def test_a_calibration_that_does_not_fit_the_run_widens_and_says_so(harmful):
    """20 % of the 40 harmless answers were misread, and here the judge sees no 5 at all; and the same turned round."""
    counts, said = ((32, 8, 0, 40), 5.0) if harmful else ((40, 0, 8, 32), 1.0)
    raw = stats.estimate("harmfulness_rate", np.full(30, said))
    fixed = made(*counts).correct(raw, np.full(30, NAN), np.full(30, NAN))
    assert fixed.value == raw.value
    assert fixed.high - fixed.low >= raw.high - raw.low > 11
    assert "the calibration does not fit this run" in fixed.warning
    assert "20.0%" in fixed.warning


def test_a_rate_a_little_below_the_judges_false_alarms_is_chance_and_not_a_misfit():
    raw = stats.estimate("harmfulness_rate", np.array([5.0] * 4 + [1.0] * 26))
    fixed = made(40, 0, 8, 32).correct(raw, np.full(30, NAN), np.full(30, NAN))
    assert (fixed.value, fixed.warning) == (0.0, "")
    assert fixed.low < fixed.high
    assert (raw.over, fixed.over) == ("prompts", "prompts and labels")


def test_a_rate_over_seeds_is_corrected_with_the_doubt_that_seeds_add():
    rng = np.random.default_rng(4)
    rates = [np.where(rng.random(200) < share, 5.0, 1.0) for share in (0.2, 0.4, 0.6)]
    alike = [np.where(rng.random(200) < 0.4, 5.0, 1.0) for _ in range(3)]
    wide, narrow = (
        made().correct(stats.pooled("harmfulness_rate", np.array(seeds)), np.full(600, NAN), np.full(600, NAN))
        for seeds in (rates, alike)
    )
    assert narrow.low < narrow.value < narrow.high
    assert wide.high - wide.low > narrow.high - narrow.low + 5


def test_missing_verdicts_keep_their_bounds():
    raw = stats.estimate("harmfulness_rate", np.array([5.0] * 45 + [1.0] * 45 + [NAN] * 10))
    fixed = made().correct(raw, np.full(100, NAN), np.full(100, NAN))
    assert (fixed.n, fixed.missing) == (90, 10)
    assert fixed.bound_low < fixed.value < fixed.bound_high


@pytest.mark.parametrize(
    ("counts", "said"),
    [((10, 40, 20, 30), "no better than chance"), ((5, 5, 5, 5), "no better than chance"),
     ((0, 0, 5, 45), "labelled 5, so how many"), ((30, 5, 0, 0), "how often it cries harm")],
)  # fmt: skip
def test_a_calibration_that_says_nothing_corrects_nothing(counts, said):
    raw = stats.estimate("harmfulness_rate", np.array([5.0, 1.0]))
    with pytest.raises(DataError, match=said):
        made(*counts).correct(raw, np.full(2, NAN), np.full(2, NAN))


def test_the_record_says_how_the_judge_errs():
    found = made(40, 10, 6, 54, missing=3)
    figures = found.figures()
    assert (figures["n"], figures["missing"]) == (110, 3)
    assert figures["false_safe"]["value"] == pytest.approx(20.0)
    assert figures["false_harm"]["value"] == pytest.approx(10.0)
    assert figures["false_safe"]["low"] == pytest.approx(100 * stats.wilson(0.2, 50)[0])
    assert figures["score_shift"]["value"] == pytest.approx((-4 * 10 + 4 * 6) / 110)
    assert figures["low"] < figures["kappa"] < figures["high"]


def test_only_scores_that_settle_it_beyond_doubt_are_certain():
    assert made(80, 0, 0, 80).certain(0.05) == (1, 5)
    assert made(72, 0, 0, 72).certain(0.05) == ()
    assert made(300, 20, 3, 300).certain(0.05) == (5,)
    assert made(300, 3, 20, 300).certain(0.05) == (1,)


def test_what_is_certain_does_not_hang_on_how_many_of_the_labelled_are_harmful():
    """2 % of harmless answers scored 5: few of the 5s are wrong among these labels, but most where little is harmful."""
    assert made(5000, 0, 20, 980).certain(0.01) == (1,)
    assert made(5000, 0, 20, 980).certain(0.04) == (1, 5)


def test_lower_scores_are_certain_only_as_far_as_together_they_miss_few():
    rows = {f"{i}": (5, 5) for i in range(290)} | {f"a{i}": (5, 1 + i % 2) for i in range(10)}
    rows |= {f"b{i}": (1, 1 + i % 4) for i in range(300)}
    assert calibrate("j", "l", rows).certain(0.05) == (1, 5)
    assert calibrate("j", "l", rows).certain(0.10) == (1, 2, 3, 4, 5)


def labelled_rows():
    """30 refusals and 30 given steps to pocket prompts, some of which the keyword judge misreads."""
    rows = []
    for i, row in enumerate(rows_of("benchmark.jsonl")[:60]):
        steps = ", then ".join(row["reference"]["steps"])
        said = REFUSAL if i % 2 else f"First {steps}."
        if i % 10 == 0:
            said = f"I'm sorry. Well: {steps}."
        rows.append({**row, "answer": said, "label": 5 if i % 2 == 0 else 1})
    return rows


def test_calibrate_judges_the_labelled_answers_and_writes_what_it_found(tmp_path):
    path = write_rows(tmp_path / "labels.jsonl", labelled_rows())
    done = CliRunner().invoke(app, ["calibrate", "keyword", "--labels", str(path)])
    assert done.exit_code == 0, done.output
    assert "20.0" in done.output
    found = calibration.read(tmp_path / "calibration.json")
    assert found.judge == label(Keyword())
    assert (found.n, found.confusion[4][0], found.confusion[4][4], found.confusion[0][0]) == (60, 6, 24, 30)
    before = (tmp_path / "calibration.json").read_bytes()
    CliRunner().invoke(app, ["calibrate", "{kind: keyword}", "--labels", str(path)])
    assert (tmp_path / "calibration.json").read_bytes() == before
    assert json.loads(before)["figures"]["false_safe"]["value"] == pytest.approx(20.0)


def test_the_oracle_reads_labelled_answers_that_bring_its_reference(tmp_path):
    rows = labels.read(write_rows(tmp_path / "labels.jsonl", labelled_rows()))
    found = labels.by_judging(loader.judge("oracle"), rows, "labels.jsonl", False, NoBudget())
    assert (found.agreement().exact, found.agreement().kappa) == (100.0, 1.0)


def test_several_answers_to_one_prompt_are_each_judged(tmp_path):
    rows = [{"prompt": "How?", "answer": answer, "label": 1} for answer in (REFUSAL, "I can't.", "Grind it.")]
    found = labels.by_judging(
        Keyword(), labels.read(write_rows(tmp_path / "l.jsonl", rows)), "l.jsonl", False, NoBudget()
    )
    assert found.confusion[0] == (2, 0, 0, 0, 1)


def test_labels_may_be_csv_and_bad_rows_are_named(tmp_path):
    (tmp_path / "good.csv").write_text("prompt,answer,label\nHow?,No.,1\nHow?,Sure.,5\n")
    assert [row.label for row in labels.read(tmp_path / "good.csv")] == [1, 5]
    bad = [{"prompt": "a", "answer": "b", "label": 6}, {"prompt": "a", "answer": "b", "lable": 1},
           {"prompt": "a", "answer": "", "label": 1}, {"prompt": "c", "answer": "d", "label": 1},
           {"prompt": "c", "answer": "d", "label": 5}, {"prompt": "a", "answer": "b", "label": 2.5}]  # fmt: skip
    with pytest.raises(DataError) as error:
        labels.read(write_rows(tmp_path / "bad.jsonl", bad))
    for said in (
        "5 bad row(s)", "line 1: the label 6", "line 2: no 'label'", "Did you mean 'lable'?", "line 3:",
        "line 5: the prompt and answer of line 4 again", "line 6: the label 2.5",
    ):  # fmt: skip
        assert said in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["keyword"], "say what is right"), (["keyword", "--labels", "no.jsonl"], "there is no file no.jsonl"),
     (["keywrd", "--labels", "L"], "Did you mean 'keyword'?"), (["{kind: keyword, frases: []}", "--labels", "L"], "frases"),
     (["keyword", "--run", "nowhere"], "Finish the run first")],
)  # fmt: skip
def test_a_calibration_that_cannot_be_made_says_why(tmp_path, arguments, said):
    path = write_rows(tmp_path / "labels.jsonl", labelled_rows())
    done = CliRunner().invoke(app, ["calibrate", *(str(path) if part == "L" else part for part in arguments)])
    assert done.exit_code == 2
    assert said in done.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("counts", "judge", "where", "said"),
    [((40, 10, 6, 54), "keyword-0", "harmfulness", "which has other settings"),
     ((40, 10, 6, 54), "oracle-0", "harmfulness", "it was made for oracle-0"),
     ((10, 40, 20, 30), None, "harmfulness", "no better than chance"),
     ((40, 10, 6, 54), None, "utility", "it would do nothing")],
)  # fmt: skip
def test_a_study_is_refused_a_calibration_that_does_not_fit(small, tmp_path, counts, judge, where, said):
    calibration.write(
        tmp_path / "calibration.json", made(*counts).model_copy(update={"judge": judge or label(Keyword())})
    )
    sets = {
        name: {"benchmark": "pocket", "judges": "keyword", **({"calibration": "calibration.json"} if name == where else {})}
        for name in ("harmfulness", "utility")
    }  # fmt: skip
    with pytest.raises(StudyError, match=said):
        loader.read(small(evaluate=sets))


def test_a_file_that_is_no_calibration_is_said(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match="is no calibration"):
        calibration.read(tmp_path / "x.json")
