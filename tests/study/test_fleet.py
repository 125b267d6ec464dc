"""`holdfast plan --machine`: what a run takes on given machines."""

import json

import pytest
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.core.errors import DataError
from holdfast.core.run_folder import RunFolder
from holdfast.study import doctor, loader
from holdfast.study.doctor import cost_model, fleet
from holdfast.study.doctor.cost_model import Shape, Tuning
from holdfast.study.doctor.machine import Speed
from holdfast.study.plan import make_plan


@pytest.fixture
def facts(small):
    return doctor.facts_of(loader.read(small()), [0])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("here", ("here", 1, None)),
        ("H100x8=2.5", ("h100", 8, 2.5)),
        ("l40sx2", ("l40s", 2, None)),
        ("a100=1", ("a100", 1, 1.0)),
    ],
)
def test_machines_are_named_with_number_and_price(text, wanted):
    found = fleet.asked(text)
    assert (found.name, found.count, found.usd_per_hour) == wanted


@pytest.mark.parametrize("text", ["", "b100", "h100x0", "h100x", "h100=-1", "h100x2=", "h 100"])
def test_what_names_no_machines_is_refused_with_the_names(text):
    with pytest.raises(DataError, match=r"--machine takes NAME.*Names: here, h200, h100"):
        fleet.asked(text)


def test_an_h100_tunes_as_fast_as_is_published():
    """Llama-3 8B, LoRA, two sequences of 4,096 tokens a step."""
    llama, tokens = Shape(8_030_000_000, 32, 4096, 128_256, 8192), 8192 * 1000
    run = Tuning("lora", tokens, 1000, cost_model.trained_weights(llama, "lora", 16), False)
    seconds = cost_model.tuning_seconds(llama, run, fleet.MACHINES["h100"])
    seconds -= cost_model.SECONDS_TO_TUNE_AT_ALL + cost_model.loading_seconds(llama)
    assert tokens / seconds == pytest.approx(12_473, rel=0.02)


def test_more_machines_take_less_time_and_no_fewer_hours(facts, monkeypatch):
    monkeypatch.setattr(fleet.machine, "speed", lambda: Speed(1e9, 1e-5, 1e9))
    one, two, many = (fleet.takes(facts, fleet.Fleet("here", n, 3.0)) for n in (1, 2, 100))
    assert one.hours > two.hours > many.hours * 0.999
    assert one.machine_hours <= two.machine_hours <= many.machine_hours
    assert two.usd == pytest.approx(3.0 * two.machine_hours) and one.measured
    assert one.hours * 3600 == pytest.approx(
        3600 * (one.tuning_hours + one.answering_hours) + cost_model.SECONDS_TO_START
    )
    assert not fleet.takes(facts, fleet.Fleet("h100", 1, None)).measured


def test_a_run_of_the_study_fits_the_model_to_this_machine(facts, tmp_path, monkeypatch):
    speed = Speed(1e9, 1e-5, 1e9)
    monkeypatch.setattr(fleet.machine, "speed", lambda: speed)
    with pytest.raises(DataError, match="there is no training run of this study"):
        fleet.fitted(facts, [tmp_path / "run"])
    for condition in make_plan(facts.study, [0]).conditions:
        if condition.role == "tuned":
            tuning = fleet.resources.tuning_of(
                facts, condition.name, facts.study.conditions[condition.name], condition.training["epochs"]
            )
            predicted = cost_model.tuning_seconds(facts.shape, tuning, speed) - cost_model.loading_seconds(facts.shape)
            RunFolder(tmp_path / "run").condition(condition.key).write_training({"seconds": 3 * predicted})
    factor, n = fleet.fitted(facts, [tmp_path / "run"])
    assert (factor, n) == (pytest.approx(3.0), 2)
    plain, fitted = fleet.takes(facts, fleet.asked("here")), fleet.takes(facts, fleet.asked("here"), factor)
    assert fitted.tuning_hours == pytest.approx(3 * plain.tuning_hours)
    assert fitted.answering_hours == plain.answering_hours


@pytest.mark.long
def test_the_command_tells_hours_and_dollars(small, tmp_path):
    out = tmp_path / "plan"
    done = CliRunner().invoke(app, ["plan", str(small()), "--machine", "h100x8=2.5", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "8 × h100" in done.output and "as stated" in done.output
    [takes] = json.loads((out / "machines.json").read_text())
    assert takes["usd"] == pytest.approx(2.5 * takes["machine_hours"])
