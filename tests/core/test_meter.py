"""How fast something goes is measured from where it began now, not from what an earlier run has done."""

from types import SimpleNamespace

import pytest

from holdfast.core import progress
from holdfast.core.progress import Activity, Meter, TuningStep


class Told:
    """Keeps what it is told."""

    def __init__(self):
        self.units, self.activities = [], []

    def advance(self, units):
        self.units.append(units)

    def show(self, activity):
        self.activities.append(activity)

    def note(self, text):
        raise AssertionError(text)


@pytest.fixture
def clock(monkeypatch):
    time = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: time.now)
    return time


def test_what_was_done_earlier_counts_as_done_and_not_as_speed(clock):
    told = Told()
    meter = Meter(told, "answering as a (seed 0)", "prompts", 330)
    meter.begin(300)
    clock.now += 5
    meter.advance(10)
    assert told.units == [300, 10]
    assert told.activities == [
        Activity("answering as a (seed 0)", "prompts", 300, 330),
        Activity("answering as a (seed 0)", "prompts", 310, 330, speed=2.0),
    ]
    assert told.activities[1].seconds_left == 10


def test_a_resumed_tuning_tells_loss_speed_tokens_and_time_left(clock):
    told = Told()
    meter = Meter(told, "tuning a (seed 0)", "steps", 50)
    meter.step(TuningStep(10, 50))
    clock.now += 10
    meter.step(TuningStep(30, 50, loss=0.5124, tokens=512))
    assert told.units == [10, 20]
    assert str(told.activities[-1]) == (
        "tuning a (seed 0): 30 of 50 steps, 0:10 left, loss 0.512, 2.0 steps/s, 1,024 tokens/s"
    )
    assert str(told.activities[0]) == "tuning a (seed 0): 10 of 50 steps"


def test_a_heavy_unit_counts_for_more_in_the_whole_run(clock):
    told = Told()
    meter = Meter(told, "tuning a (seed 0)", "steps", 50, weight=32)
    meter.step(TuningStep(10, 50))
    clock.now += 10
    meter.step(TuningStep(30, 50))
    assert told.units == [320, 640]
    assert (told.activities[-1].done, told.activities[-1].speed) == (30, 2.0)
