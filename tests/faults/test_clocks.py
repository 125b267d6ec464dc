"""A machine's clock that is set while a run waits: nothing waits longer or shorter for that."""

import ast
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from support.endpoint_double import Double, FakeTime, fails, says

import holdfast
from holdfast.cli import options
from holdfast.core.budget import NoBudget
from holdfast.core.errors import BudgetError
from holdfast.core.workers import _Direct
from holdfast.models.endpoint import Endpoint, Request, Timing, complete
from holdfast.study import limits

HOUR = 3600.0
NOW, THEN = "Sat, 01 Jan 2000 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:20 GMT"


@pytest.fixture
def clock(monkeypatch):
    """Sets the machine's clock by so many seconds."""
    real, off = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + off[0])
    return lambda seconds: off.__setitem__(0, seconds)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_clock_that_is_set_during_a_retry_after_does_not_change_the_wait(clock, seconds, form):
    def wakes_early(left):
        clock(seconds)
        assert left < 60
        sleep(left / 2 if left > 0.05 else left)

    def behave(asked):
        after = 1 if form == "seconds" else formatdate(time.time() + 1, usegmt=True)
        return says("Yes.") if asked.number else fails(429, retry_after=after)

    assert Timing().clock is time.monotonic  # which the fixture could not set if it were the date
    sleep = time.sleep
    with Double(behave) as server:
        endpoint = Endpoint(base_url=server.url, max_attempts=2, timeout_s=30)
        asked = [Request("r", "base", [{"role": "user", "content": "?"}], 10)]
        [reply] = complete(endpoint, asked, NoBudget(), Timing(sleep=wakes_early, random=lambda: 0.0))
    assert reply.outcome == "ok"
    first, second = (asked.at for asked in server.asked)
    assert 0.9 < second - first < 20


def test_a_date_to_come_back_at_is_by_the_clock_of_the_server(monkeypatch):
    waits = []
    with Double(lambda asked: says("Yes.") if asked.number else fails(503, retry_after=THEN)) as server:
        monkeypatch.setattr("http.server.BaseHTTPRequestHandler.date_time_string", lambda self: NOW)
        endpoint = Endpoint(base_url=server.url, max_attempts=2, timeout_s=30)
        asked = [Request("r", "base", [{"role": "user", "content": "?"}], 10)]
        fake = FakeTime()
        timing = Timing(fake.clock, lambda left: (waits.append(left), fake.sleep(left)), lambda: 0.0)
        [reply] = complete(endpoint, asked, NoBudget(), timing)
    assert (reply.outcome, waits) == ("ok", [20.0])


@pytest.mark.parametrize("limits_of", [options.limits, limits.limits])
@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_a_clock_that_is_set_does_not_move_the_end_of_max_hours(clock, watcher, limits_of, seconds):
    long, short = limits_of(None, 0.5), limits_of(None, 0.0)
    clock(seconds)
    long.checked(_Direct(watcher, 0)).advance(1)
    with pytest.raises(BudgetError, match="--max-hours"):
        short.checked(_Direct(watcher, 0)).advance(1)


@pytest.mark.long
def test_no_wait_is_measured_by_the_date():
    """`time.time` is only asked for dates that other machines or clients read: those of the service are in its database."""
    users, house = set(), Path(holdfast.__file__).parent
    for path in set(house.rglob("*.py")) - set((house / "service").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "time.time",
                "datetime.now",
                "datetime.utcnow",
            ):
                users.add(path.name)
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time" and node.names[0].name == "time")
    assert users == {"retry.py"}
