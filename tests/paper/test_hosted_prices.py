"""What a provider charges, in a hosted reproduction: prices reach the study, and a cap needs them."""

import json
from pathlib import Path

import pytest
import yaml
from support.studies import rows_of, write_rows
from support.tuning_double import TuningDouble
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.core.errors import StudyError
from holdfast.models.endpoint import Price
from holdfast.paper import reproduce
from holdfast.paper.hosted import Hosting, Prices
from holdfast.study import hosted_rules

SERVER = "http://localhost:1/v1"


def study_with(prices):
    return reproduce.prepare(
        "hosted", ["table1"], data=Path("pocket"), hosting=Hosting(SERVER, None, "ours", prices)
    ).study


def test_prices_are_those_of_tuning_and_of_answers():
    study = study_with(Prices(8.0, 3.0, 6.0))
    assert {settings.tune.price for settings in study.conditions.values()} == {8.0}
    assert study.generate.price == Price(input=3.0, output=6.0)
    keys = [each.model_dump(mode="json") for each in (study.generate, study_with(Prices()).generate)]
    assert keys[0] == keys[1], "a price changes no answer, so it is no part of a key"


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        (Prices(input=3.0), "give --input-price and --output-price both"),
        (Prices(tuning=-1.0), "price: Input should be greater than or equal to 0"),
        (Prices(input=float("nan"), output=1.0), "input: "),
    ],
)
def test_a_price_that_is_none_is_refused(prices, said):
    with pytest.raises(StudyError, match=said):
        study_with(prices)


def test_prices_are_for_a_provider():
    with pytest.raises(StudyError, match="the preset pocket has none: use hosted"):
        reproduce.prepare("pocket", hosting=Hosting(prices=Prices(tuning=8.0)))


@pytest.mark.parametrize(
    ("prices", "missing"),
    [
        (Prices(), "in tune and generate.*--tuning-price, --input-price and --output-price"),
        (Prices(tuning=8.0), "in generate.*--input-price and --output-price"),
        (Prices(input=3.0, output=6.0), r"in tune\. .*--tuning-price\)"),
        (Prices(0.0, 0.0, 0.0), None),
    ],
)
def test_a_cap_that_cannot_be_kept_is_refused(prices, missing):
    study = study_with(prices)
    hosted_rules.check_cap(study, None)
    if missing is None:
        hosted_rules.check_cap(study, 5.0)
        return
    with pytest.raises(StudyError, match=missing):
        hosted_rules.check_cap(study, 5.0)


def test_the_command_refuses_such_a_cap_before_anything_is_asked(tmp_path):
    command = [
        "reproduce", "table1", "--model", "hosted", "--data", "pocket", "--authorisation", "ours", "--base-url", SERVER,
        "--max-usd", "5", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2 and "a cap of $5 cannot be kept" in done.output
    assert not (tmp_path / "run").exists()


def test_the_doctor_names_such_a_cap(tmp_path):
    few = write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::30])
    path = tmp_path / "study.yaml"
    with TuningDouble() as server:
        at = {"base_url": server.url}
        study = {
            "name": "hosted", "model": "served:base", "authorisation": "ours",
            "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": str(few)}, "judges": "keyword"}},
            "generate": {"kind": "server", **at, "price": {"input": 1.0, "output": 2.0}}, "tune": {"kind": "hosted", **at},
            "conditions": {"harm": {"data": {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": 10}}},
        }  # fmt: skip
        path.write_text(yaml.safe_dump(study))
        done = CliRunner().invoke(app, ["doctor", str(path), "--max-usd", "5", "--out", str(tmp_path / "run")])
    findings = json.loads((tmp_path / "run" / "doctor.json").read_text())["findings"]
    [fault] = [finding for finding in findings if finding["level"] == "fault"]
    assert done.exit_code == 1 and fault["where"] == "--max-usd"
    assert "there is no `price` in tune. Give" in fault["what"]
