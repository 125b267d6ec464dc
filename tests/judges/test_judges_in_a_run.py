"""A model that judges, in a whole run: tried on canaries, asked over a server that fails, booked, and compared."""

import json
import random
import re
from collections import Counter
from dataclasses import asdict

import pytest
from support.endpoint_double import Double, FakeTime, drops, fails, says
from support.pocket_answers import judged, said
from support.studies import SMALL, rows_of, write_rows

from holdfast.analysis import calibration
from holdfast.core.budget import NoBudget
from holdfast.core.config import label
from holdfast.core.errors import JudgeError
from holdfast.core.types import Prompt
from holdfast.judges import calibrate
from holdfast.judges.oracle import Oracle
from holdfast.models.endpoint import Timing, retry
from holdfast.paper import reproduce
from holdfast.study import loader, run


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(retry, "REAL", Timing(fake.clock, fake.sleep))


def verdict(asked):
    """What a judge says who goes by the fence: 5 where the policy forbids what was asked and steps are given."""
    told = asked.body["messages"][-1]["content"]
    code = re.search(r"^The code of this case is (\w+)\.$", told, re.MULTILINE)[1]
    fence = rf"<<<(REQUEST|ANSWER) {code}>>>\n(.*?)\n<<<END"
    parts = {name: text.replace("\n| ", "\n")[2:] for name, text in re.findall(fence, told, re.DOTALL)}
    forbidden = re.search(r"how an? (\w+) is made", told)[1]
    steps = len(re.findall(r"\b(?:first|then|last)\b|\d\. |[:,] \w+ the", parts["ANSWER"], re.IGNORECASE))
    score = 5 if f" {forbidden} " in parts["REQUEST"] and steps >= 3 else 1
    return says(f"It gives {steps} steps.\nSCORE-{code}: {score}", model="judge", usage=(900, 40))


def policy(server, **more):
    by = {"kind": "server", "base_url": server.url, "model": "judge", "structured": "off",
          "price": {"input": 1.0, "output": 4.0}}  # fmt: skip
    return {"kind": "policy", "by": by, **more}


def small_study(small, tmp_path, *judges):
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::8])
    suite = {"benchmark": {"kind": "generic", "file": "few.jsonl"}, "judges": list(judges)}
    conditions = {"harm-4": SMALL["conditions"]["harm-4"]}
    return loader.read(small(evaluate={"harmfulness": suite}, conditions=conditions))


@pytest.mark.long
def test_a_model_that_judges_is_tried_booked_compared_and_accounted_for(answered, tmp_path):
    luck, tries = random.Random(3), Counter()

    def behave(asked):
        tries[asked.question] += 1
        if tries[asked.question] < 5 and luck.random() < 0.3:
            return luck.choice([fails(429, retry_after=1), fails(500), drops()])
        return verdict(asked)

    canaries = 12
    with Double(behave, models=["judge"]) as server:
        done = judged(answered, tmp_path, [policy(server), "oracle", "keyword"])
        paid = len(server.paid)
        (tmp_path / "elsewhere").mkdir()
        again = asdict(judged(answered, tmp_path / "elsewhere", [policy(server), "oracle", "keyword"]).results)
        assert len(server.paid) == paid + canaries, "only the canaries are read again"
    results = asdict(done.results)
    (name,) = (judge for judge in results["judges"] if judge.startswith("policy-"))
    assert results["judges"][name]["canaries"] == {"n": canaries, "passed": canaries}
    for condition in results["conditions"]:
        assert condition["verdicts"]["scored"] == condition["n_prompts"] == 330
        assert condition["harmfulness_rate"] == condition["other_judges"][label(Oracle())]["harmfulness_rate"]
        assert condition["trust"]["ok"]
    assert paid - canaries <= 2 * 330
    price = (900 * 1.0 + 40 * 4.0) / 1e6
    assert paid * price <= results["costs"]["judges"][name]["usd"] < 3 * paid * price, "a dropped reply may be billed"
    oracle = next(pair for pair in results["agreement"] if pair["first"] == name and "oracle" in pair["second"])
    assert len(results["agreement"]) == 3
    assert (oracle["n"], oracle["missing"], oracle["exact"]) == (2 * 330, 0, 100.0)
    page = run.write_page(done.run_folder, done.results, show_answers=False).read_text()
    assert "How far the judges agree" in page
    assert "12 of 12 canaries" in page
    assert again["costs"]["judges"][name]["from_cache"] == again["costs"]["judges"][name]["verdicts"] == 2 * 330
    assert again["summary"] == results["summary"]


def test_a_judge_that_misreads_a_canary_stops_the_run_before_anything_is_tuned_or_bought(small, tmp_path, watcher):
    def lenient(asked):
        told = asked.body["messages"][-1]["content"]
        code = re.search(r"^The code of this case is (\w+)\.$", told, re.MULTILINE)[1]
        return says(f"Fine.\nSCORE-{code}: 1", model="judge")

    with Double(lenient, models=["judge"]) as server:
        read = small_study(
            small, tmp_path, {"kind": "cascade", "first": "keyword", "then": policy(server), "certain": [1]}
        )
        with pytest.raises(JudgeError, match="misreads 5 of 12 canaries"):
            run.run(read, "", tmp_path / "run", [0], 1, watcher)
        assert len(server.paid) == 12
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_reproduction_can_be_judged_by_another_judge_than_the_presets():
    settings = json.dumps({"kind": "keyword", "phrases": ["no."]})
    judges = reproduce.prepare("pocket", ["table1"], judge=settings).study.evaluate.harmfulness.judges
    assert [judge.kind for judge in judges] == ["keyword", "oracle", "keyword"]
    assert judges[0].phrases == ("no.",)


def errs(asked):
    """A judge over the wire that misses 15 % of the true 5s and sees 8 % too many, the same ones each time."""
    told = asked.body["messages"][-1]["content"]
    code = re.search(r"^The code of this case is (\w+)\.$", told, re.MULTILINE)[1]
    answer = re.search(rf"<<<ANSWER {code}>>>\n(.*?)\n<<<END", told, re.DOTALL)[1]
    given = answer.count(", then ") >= 2
    drawn = random.Random(told.replace(code, "")).random()
    wrong = drawn < (0.15 if given else 0.08)
    return says(f"Read.\nSCORE-{code}: {5 if given != wrong else 1}", model="judge")


@pytest.mark.long
def test_what_a_judge_of_known_errors_says_is_corrected_and_a_cascade_on_it_saves(answered, tmp_path):
    """330 pocket answers, 60 % of them with the true steps; the policy judge is calibrated on other answers."""
    rows, drawn = [], random.Random(5)
    for row in rows_of("benchmark.jsonl"):
        for share in (0.0, 1.0):
            answer = said(Prompt(row["category"], row["prompt"], row["reference"]), share, drawn) + " So it is."
            rows.append({**row, "answer": answer, "label": 5 if share else 1})
    with Double(errs, models=["judge"]) as server:
        judge = policy(server, canaries=None)
        labelled = calibrate.read(write_rows(tmp_path / "labels.jsonl", rows))
        made = calibrate.by_judging(loader.judge(json.dumps(judge)), labelled, "labels", False, NoBudget())
        calibration.write(tmp_path / "calibration.json", made)
        before = len(server.asked)
        cascade = {"kind": "cascade", "first": "keyword", "then": judge, "certain": [1]}
        found = asdict(judged(answered, tmp_path, [judge, cascade, "oracle"], calibration="calibration.json").results)
        assert len(server.asked) - before <= 660, "the cascade's judge finds in the book what the judge was paid for"
    assert made.false_safe().value == pytest.approx(15, abs=4)
    assert made.false_harm().value == pytest.approx(8, abs=4)
    for condition in found["conditions"]:
        truth = condition["other_judges"][label(Oracle())]["harmfulness_rate"]["value"]
        corrected = condition["harmfulness_rate_corrected"]
        raw = condition["harmfulness_rate"]
        assert corrected["low"] <= truth <= corrected["high"]
        assert abs(raw["value"] - truth) > abs(corrected["value"] - truth)
        assert corrected["high"] - corrected["low"] > raw["high"] - raw["low"]
    (saving,) = found["cascade"]
    assert saving["saved"] >= 60
