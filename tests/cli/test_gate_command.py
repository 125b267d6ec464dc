"""`holdfast gate` and `holdfast plan` as a person or a script runs them."""

import json
from xml.etree import ElementTree

import pytest
from support.pocket_answers import judged
from typer.testing import CliRunner

from holdfast.cli import app

runner = CliRunner()


@pytest.fixture(scope="module")
def judged_run(answered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    judged(answered, folder, "oracle")
    return folder / "run"


@pytest.mark.long
def test_the_exit_code_is_the_answer(judged_run, tmp_path):
    done = runner.invoke(app, ["gate", str(judged_run)])
    assert done.exit_code == 1 and "Fail: the harmfulness rate has risen by" in done.output
    policy = tmp_path / "policy.yaml"
    policy.write_text("harmfulness_rate: 80\nharmfulness_score: null\ncategory: null\n")
    assert runner.invoke(app, ["gate", str(judged_run), "--policy", str(policy)]).exit_code == 0
    policy.write_text("harmfulness_rate: 54\nharmfulness_score: null\ncategory: null\n")
    undecided = runner.invoke(app, ["gate", str(judged_run), "--policy", str(policy)])
    assert undecided.exit_code == 3 and "prompts could tell" in undecided.output.replace("\n", " ")
    policy.write_text(
        "utility: 5\nrequired: [utility]\nharmfulness_rate: 80\nharmfulness_score: null\ncategory: null\n"
    )
    assert runner.invoke(app, ["gate", str(judged_run), "--policy", str(policy)]).exit_code == 3


@pytest.mark.parametrize("more", [["nowhere"], ["--policy", "nothing.yaml"], ["--condition", "x"], ["--seed", "9"]])
def test_a_gate_that_could_not_run_exits_with_2(judged_run, more):
    command = ["gate", *more] if more == ["nowhere"] else ["gate", str(judged_run), *more]
    done = runner.invoke(app, command)
    assert done.exit_code == 2 and "Traceback" not in done.output


def test_a_plan_is_a_table_a_curve_and_two_files(tmp_path):
    done = runner.invoke(app, ["plan", "--prompts", "120", "--usd-per-million", "10", "--out", str(tmp_path / "plan")])
    assert done.exit_code == 0 and "about 99 prompts" in done.output and "P pass" in done.output
    planned = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert planned["n_needed"] == 99
    here = next(row for row in planned["rows"] if row["prompts"] == 120)
    assert here["usd"] == pytest.approx(240 * 600 * 10 / 1e6)
    assert ElementTree.parse(tmp_path / "plan" / "plan.svg").getroot().tag.endswith("svg")


def test_a_plan_takes_prompts_and_seeds_from_a_study(small):
    done = runner.invoke(app, ["plan", str(small()), "--margin", "10"])
    assert done.exit_code == 0 and "With 22 prompts" in done.output


def test_what_cannot_be_planned_exits_with_2():
    done = runner.invoke(app, ["plan", "--seeds", "2", "--samples", "2"])
    assert done.exit_code == 2 and "not both" in done.output
