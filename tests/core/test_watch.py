"""A long tuning is not silent: a line for each worker on a terminal, and lines now and then elsewhere."""

import io

import pytest

from holdfast.core import watch
from holdfast.core.progress import Activity
from holdfast.core.terminal import Terminal
from holdfast.core.watch import Watch

TUNING = Activity("tuning harm-2 (seed 0)", "steps", 12, 50, speed=4.0, loss=0.5, tokens_per_second=2310)
ANSWERING = Activity("answering as initial (seed 0)", "prompts", 64, 330, speed=8.0)


def shown(terminal):
    """What is written while two workers are at work, and one of them ends."""
    console = Terminal(file=io.StringIO(), force_terminal=terminal, width=120)
    with Watch(console) as watch:
        watch.begin(100)
        watch.advance(12)
        watch.show(0, TUNING)
        watch.show(1, ANSWERING)
        if watch.live:
            watch.live.refresh()
        both = console.file.getvalue()
        watch.show(1, None)
        console.file.truncate(0)
        if watch.live:
            watch.live.refresh()
        watch.show(0, TUNING)
        return both, console.file.getvalue()


def test_a_terminal_has_a_line_for_each_worker():
    both, one = shown(terminal=True)
    assert str(TUNING) in both and str(ANSWERING) in both
    assert str(TUNING) in one and "answering" not in one


def test_elsewhere_lines_come_at_intervals(monkeypatch):
    assert shown(terminal=False) == ("", "")
    monkeypatch.setattr(watch, "LINES_EVERY", 0.0)
    both, one = shown(terminal=False)
    assert f"left: {TUNING}\n" in both and f"left: {ANSWERING}\n" in both
    assert "answering" not in one


def test_nothing_is_said_of_the_time_left_before_enough_is_done():
    console = Terminal(file=io.StringIO(), force_terminal=False, width=120)
    with Watch(console) as watch:
        watch.begin(1000)
        for units in (0, 1, 9):
            watch.advance(units)
            watch.note("line")
    told = [line.partition("gone, ")[2].partition(" left")[0] for line in console.file.getvalue().splitlines()]
    assert told[:2] == ["unknown time"] * 2
    assert told[2].startswith("about ")


@pytest.mark.parametrize("terminal", [True, False])
def test_text_is_shown_as_it_is(terminal):
    console = Terminal(file=io.StringIO(), force_terminal=terminal, width=120)
    with Watch(console) as watch:
        watch.note("rows[0]: [bold] is no markup")
        watch.begin(1)
        watch.note("rows[0]: [bold] is no markup")
    assert console.file.getvalue().count("[bold] is no markup") == 2
