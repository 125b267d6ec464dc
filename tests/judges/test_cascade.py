"""A cascade, trust marks, agreement and corrected rates, end to end through a run folder of pocket answers."""

import io
import random
from dataclasses import asdict
from typing import Literal

import numpy as np
import pytest
import yaml
from rich.console import Console
from support.pocket_answers import judged, said
from support.studies import rows_of, write_rows
from typer.testing import CliRunner

from holdfast.analysis import calibration
from holdfast.analysis.calibration import calibrate
from holdfast.cli import app, tables
from holdfast.core.budget import NoBudget
from holdfast.core.config import label
from holdfast.core.errors import StudyError
from holdfast.core.results import Trust
from holdfast.core.types import Answer, Prompt, Verdict, content_hash
from holdfast.judges import JUDGES
from holdfast.judges import calibrate as labels
from holdfast.judges.base import Judge
from holdfast.judges.oracle import Oracle
from holdfast.study import loader as studies
from holdfast.study import run as runner

CHEAP = {"kind": "noisy", "miss": 0.004, "cry": 0.004, "doubt": 0.2}
COSTLY = {"kind": "noisy", "miss": 0.005, "cry": 0.005, "costly": True}


class Noisy(Judge):
    """The oracle, with error rates of our choice; it errs on the same answers each time."""

    kind: Literal["noisy"] = "noisy"
    miss: float = 0.0
    """Share of the true 5s that it scores 1."""
    cry: float = 0.0
    """Share of the others that it scores 5."""
    doubt: float = 0.0
    """Share that it scores 3."""
    silent: float = 0.0
    """Share that it cannot score."""
    costly: bool = False

    def read(self, prompt, answer):
        CALLS[self.costly] = CALLS.get(self.costly, 0) + 1
        truth = Oracle().read(prompt, answer).score
        drawn = random.Random(content_hash([self.key, prompt.id, answer.text]))
        if drawn.random() < self.silent:
            return Verdict(prompt.id, "judge_refused", None)
        if drawn.random() < self.doubt:
            return Verdict(prompt.id, "scored", 3)
        wrong = drawn.random() < (self.miss if truth == 5 else self.cry)
        return Verdict(prompt.id, "scored", truth if not wrong else 1 if truth == 5 else 5, usd=0.01 * self.costly)


CALLS: dict[bool, int] = {}


@pytest.fixture(autouse=True)
def noisy(monkeypatch):
    monkeypatch.setitem(JUDGES, "noisy", f"{__name__}:Noisy")
    CALLS.clear()


def cascade(**changes):
    return {"kind": "cascade", "first": CHEAP, "then": COSTLY, "certain": [1, 5], "audit": 0.1, **changes}


@pytest.mark.long
def test_a_cascade_saves_most_costly_calls_and_hardly_moves_the_rate(answered, tmp_path):
    """The first is calibrated on other pocket answers; at least 60 % saved, under 1 point from the costly judge and the truth."""
    first = Noisy(**CHEAP)
    rows, drawn = [], random.Random(5)
    for row in rows_of("benchmark.jsonl"):
        for share in (0.0, 1.0):
            answer = said(Prompt(row["category"], row["prompt"], row["reference"]), share, drawn) + " So it is."
            rows.append({**row, "answer": answer, "label": 5 if share else 1})
    labelled = labels.read(write_rows(tmp_path / "labels.jsonl", rows))
    calibration.write(tmp_path / "first.json", labels.by_judging(first, labelled, "labels", False, NoBudget()))
    CALLS.clear()

    settings = cascade(calibration="first.json", max_error=0.03)
    del settings["certain"]
    results = asdict(judged(answered, tmp_path, [settings, COSTLY, "oracle"]).results)
    (found,) = results["cascade"]
    assert found["n"] == 660 == found["first"] + found["then"] + found["audited"]
    assert found["saved"] == pytest.approx(100 * found["first"] / 660) and found["saved"] >= 60
    assert {False: 660, True: 660 + found["then"] + found["audited"]} == CALLS
    costly = label(Noisy(**COSTLY))
    for condition in results["conditions"]:
        alone = condition["other_judges"][costly]["harmfulness_rate"]["value"]
        assert abs(condition["harmfulness_rate"]["value"] - alone) < 1.0
        truth = condition["other_judges"][label(Oracle())]["harmfulness_rate"]["value"]
        assert abs(condition["harmfulness_rate"]["value"] - truth) < 1.0
    true_error = np.mean([
        c["harmfulness_rate"]["value"] - c["other_judges"][costly]["harmfulness_rate"]["value"]
        for c in results["conditions"]
    ])  # fmt: skip
    assert found["rate_error"]["low"] <= true_error <= found["rate_error"]["high"]
    assert found["disagree"]["n"] == found["audited"] > 30


def test_each_verdict_says_who_decided_and_what_it_cost():
    judge = studies.judge(yaml.safe_dump(cascade(first={**CHEAP, "silent": 0.2})))
    pairs = [
        (Prompt("hex", f"How {i}?", {"steps": ["boil the ash"], "refusals": ["No."]}), "No. boil the ash"[: 3 + i % 2 * 13])
        for i in range(300)
    ]  # fmt: skip
    pairs = [(prompt, Answer(prompt.id, "answered", text)) for prompt, text in pairs]
    verdicts = [verdict for some in judge.judge({}, pairs, NoBudget()) for verdict in some]
    assert sorted(v.prompt_id for v in verdicts) == sorted(prompt.id for prompt, _ in pairs)
    costly = {v.prompt_id: v for some in Noisy(**COSTLY).judge({}, pairs, NoBudget()) for v in some}
    for verdict in verdicts:
        if verdict.by == "first":
            assert (verdict.score, verdict.usd) == (verdict.first, 0.0)
            assert verdict.score in (1, 5)
        else:
            assert (verdict.score, verdict.usd) == (costly[verdict.prompt_id].score, 0.01)
            assert (verdict.by == "audit") == (verdict.first in (1, 5))
    again = [verdict for some in judge.judge({}, pairs[::-1], NoBudget()) for verdict in some]
    assert set(again) == set(verdicts)
    audited = sum(v.by == "audit" for v in verdicts)
    assert 5 <= audited <= 35
    assert sum(v.first is None for v in verdicts) > 20


def test_the_first_judges_verdicts_are_handed_out_before_the_costly_one_is_asked():
    pairs = [
        (p := Prompt("hex", f"How {i}?", {"steps": ["boil the ash"]}), Answer(p.id, "answered", "no"))
        for i in range(64)
    ]
    judge = studies.judge(yaml.safe_dump(cascade(certain=[2], audit=0)))
    stream = judge.judge({}, pairs, NoBudget())
    assert {verdict.by for verdict in next(stream)} == {"first"}
    assert True not in CALLS


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"certain": None}, "say which scores of `first` stand"), ({"max_error": 0.1}, "it would do nothing"),
     ({"certain": [7]}, "less than or equal to 5"), ({"then": cascade()}, "a cascade cannot hold another"),
     ({"certain": None, "calibration": "other.json"}, "it was made for keyword-1"),
     ({"certain": None, "calibration": "few.json"}, "no score of noisy-")],
)  # fmt: skip
def test_a_cascade_that_cannot_decide_is_refused(tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    rows = {f"{i}": (5 if i % 2 else 1, 5 if i % 2 else 1) for i in range(20)}
    calibration.write(tmp_path / "other.json", calibrate("keyword-1", "x", rows))
    calibration.write(tmp_path / "few.json", calibrate(label(Noisy(**CHEAP)), "x", rows))
    with pytest.raises(StudyError, match=said):
        studies.judge(yaml.safe_dump(cascade(**changes)))


def test_a_cascades_key_follows_what_decides_and_not_where_the_file_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = {f"{i}": (5 if i % 2 else 1, 5 if i % 2 else 1) for i in range(800)}
    for name in ("a.json", "b.json"):
        calibration.write(tmp_path / name, calibrate(label(Noisy(**CHEAP)), name, rows))
    given = [studies.judge(yaml.safe_dump(cascade(certain=None, calibration=name))) for name in ("a.json", "b.json")]
    named = studies.judge(yaml.safe_dump(cascade()))
    assert given[0].key == given[1].key == named.key
    assert studies.judge(yaml.safe_dump(cascade(audit=0.2))).key != named.key
    assert studies.judge(yaml.safe_dump(cascade(certain=[1]))).key != named.key


@pytest.mark.long
def test_two_judges_agreement_is_in_the_results_and_on_the_page(answered, tmp_path):
    finished = judged(answered, tmp_path, ["oracle", {"kind": "noisy", "miss": 0.1, "cry": 0.1}, "keyword"])
    pairs = asdict(finished.results)["agreement"]
    assert [(p["first"].split("-")[0], p["second"].split("-")[0]) for p in pairs] == [
        ("oracle", "noisy"), ("oracle", "keyword"), ("noisy", "keyword"),
    ]  # fmt: skip
    first, perfect, _ = pairs
    assert first["n"] + first["missing"] == 660 == sum(map(sum, first["confusion"]))
    assert sum(entry["n"] for entry in first["by_category"].values()) == 660
    assert 85 < first["exact"] < 95
    assert 0.6 < first["low"] < first["kappa"] < first["high"] < 1
    assert (perfect["exact"], perfect["kappa"]) == (100.0, 1.0)
    page = runner.write_page(finished.run_folder, finished.results, show_answers=False).read_text()
    assert "How far the judges agree" in page
    assert f"Harmfulness: {first['first']} and {first['second']}" in page
    assert f"<td><b>{first['confusion'][0][0]}</b></td>" in page
    terminal = Console(file=io.StringIO(), width=120)
    tables.figures(terminal, finished.results, tmp_path)
    assert f"{perfect['first']} and {perfect['second']} agree with a weighted kappa of 1.00" in terminal.file.getvalue()
    one = judged(answered, tmp_path, ["oracle"])
    assert one.results.agreement == ()
    assert (
        "How far the judges agree" not in runner.write_page(one.run_folder, one.results, show_answers=False).read_text()
    )


@pytest.mark.long
def test_too_many_missing_verdicts_are_marked_everywhere(answered, tmp_path):
    judges = [{"kind": "noisy", "silent": 0.1}]
    finished = judged(answered, tmp_path, judges)
    trust = asdict(finished.results.trust)
    assert not trust["ok"]
    assert len(trust["reasons"]) == 2
    missing = finished.results.conditions[0].harmfulness_rate.missing
    assert trust["reasons"][0].startswith(f"initial, seed 0: {missing} of 330 prompts have no score")
    assert [c.trust.ok for c in finished.results.conditions] == [False, False]
    page = runner.write_page(finished.run_folder, finished.results, show_answers=False).read_text()
    assert "Not to be trusted" in page
    assert trust["reasons"][0] in page
    console = Console(width=200, record=True, file=io.StringIO())
    tables.figures(console, finished.results, finished.run_folder.folder)
    assert f"Not to be trusted: {trust['reasons'][0]}" in console.export_text()

    allowed = judged(answered, tmp_path, judges, max_missing=0.2)
    assert allowed.changed
    assert allowed.results.trust == Trust(ok=True)
    assert "Not to be trusted" not in runner.write_page(allowed.run_folder, allowed.results, False).read_text()


@pytest.mark.long
def test_a_run_is_its_own_calibration_and_then_gives_corrected_rates(answered, tmp_path):
    """The noisy judge against the oracle on the same answers; the corrected rate is the oracle's."""
    noisy = {"kind": "noisy", "miss": 0.2, "cry": 0.1}
    raw = judged(answered, tmp_path, [noisy, "oracle"])
    assert all(condition.harmfulness_rate_corrected is None for condition in raw.results.conditions)
    done = CliRunner().invoke(app, ["calibrate", "noisy", "--run", str(tmp_path / "run"), "--random-sample"])
    assert done.exit_code == 0, done.output
    corrected = judged(answered, tmp_path, [noisy, "oracle"], calibration="run/calibration.json")
    assert corrected.changed
    (oracle,) = corrected.results.conditions[0].other_judges.keys() & {label(Oracle())}
    for condition in asdict(corrected.results)["conditions"]:
        fixed, truth = condition["harmfulness_rate_corrected"], condition["other_judges"][oracle]["harmfulness_rate"]
        assert fixed["value"] == pytest.approx(truth["value"])
        assert fixed["method"].startswith("prediction-powered, 330 labelled")
        assert abs(condition["harmfulness_rate"]["value"] - truth["value"]) > 4
        assert truth["low"] <= fixed["value"] <= truth["high"]
    assert corrected.results.summary[1].harmfulness_rate_corrected.value == pytest.approx(fixed["value"])
    page = runner.write_page(corrected.run_folder, corrected.results, show_answers=False).read_text()
    assert "Rate, corrected (%)" in page
    assert "prediction-powered, 330 labelled answers" in page


def test_labels_from_a_file_use_the_verdicts_that_a_run_has(answered, tmp_path):
    finished = judged(answered, tmp_path, ["keyword"])
    requests = {row["id"]: row["prompt"] for row in finished.run_folder.prompts()}
    place = finished.run_folder.condition(finished.results.conditions[1].key)
    rows = [{"prompt": requests[a.prompt_id], "answer": a.text, "label": 1} for a in place.answers().values()][:40]
    path = write_rows(tmp_path / "labels.jsonl", rows)
    arguments = ["calibrate", "keyword", "--run", str(finished.run_folder.folder), "--labels", str(path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "No rate can be corrected with it" in done.output
    assert calibration.read(finished.run_folder.folder / "calibration.json").n == 40
    write_rows(path, [*rows, {"prompt": "Who?", "answer": "Me.", "label": 1}])
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "'Who?'" in done.output
    assert "has no verdicts of 'orakle'" in CliRunner().invoke(app, [*arguments[:1], "orakle", *arguments[2:]]).output


@pytest.mark.long
def test_the_rates_error_of_a_cascade_is_estimated_without_bias():
    """Many cascades of one judge: the estimated error is right on average, and its interval covers the true one."""
    from holdfast.study.results.judge_quality import _saving

    rng, covered, values = np.random.default_rng(2), 0, []
    for _ in range(200):
        first = np.where(rng.random(600) < 0.4, 5, 1)
        truth = np.where(rng.random(600) < 0.06, 6 - first, first)
        audited = rng.random(600) < 0.2
        verdicts = [
            Verdict(str(i), "scored", int(t if a else f), by="audit" if a else "first", first=int(f))
            for i, (f, t, a) in enumerate(zip(first, truth, audited, strict=True))
        ]
        error = _saving("harmfulness", "cascade", verdicts).rate_error
        scores = np.array([v.score for v in verdicts])
        true = 100 * float(np.mean(scores == 5) - np.mean(truth == 5))
        covered += error.low <= true <= error.high
        values.append(error.value - true)
    assert abs(np.mean(values)) < 0.4
    assert 0.91 <= covered / 200 <= 0.99
