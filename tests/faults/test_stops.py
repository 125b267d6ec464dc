"""Ctrl-C and SIGTERM: what is under way is stored, nothing more is asked, and no process is left.

`HOLDFAST_STOPS` says how often a paid judge is stopped by each signal; `make attack` sets it to 20.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from support.endpoint_double import Double, says
from support.paid_runs import (
    CANARIES,
    WIDTH,
    Heartbeat,
    alive,
    environment,
    slow_server,
    start_judging,
    stored,
    study,
    wait_until,
)
from support.scripted_judge import honest
from support.studies import SMALL, finish, rows_of, start, write_rows

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
REPLY = 0.3
"""Seconds that the server takes for a reply."""
MOST = 2.0
"""Seconds after the last reply within which the run has ended."""
STOPS = int(os.environ.get("HOLDFAST_STOPS", "2"))


def stop(process, number, to_group=False):
    """Send a signal; seconds until the process has ended beyond what the machine was late, and what it wrote."""
    with Heartbeat() as heartbeat:
        begun = time.monotonic()
        (os.killpg if to_group else os.kill)(process.pid, number)
        _, err = process.communicate(timeout=60)
        seconds = time.monotonic() - begun
    return seconds - 2 * heartbeat.late, err


def check_stopped(process, number, seconds, err, under_way=REPLY):
    assert process.returncode == CODES[number], err
    assert seconds < under_way + MOST
    assert "Traceback" not in err and "resource_tracker" not in err
    assert "the same command goes on from there" in err
    wait_until(lambda: not alive(process.pid), 1)


def stop_while_judging(tmp_path, answered, number, workers, n_asked, to_group):
    """Stop a run once so many requests have come; how long it took to end."""
    with slow_server(REPLY) as server:
        process = start_judging(tmp_path, server, answered, workers)
        wait_until(lambda: len(server.asked) > n_asked)
        n_asked = len(server.asked)
        seconds, err = stop(process, number, to_group)
        check_stopped(process, number, seconds, err)
        assert len(server.asked) <= n_asked + WIDTH * workers
        assert len(stored(tmp_path / "run")) == max(len(server.paid) - CANARIES, 0), "paid for and lost"
    return seconds


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", CODES)
def test_a_run_stopped_while_judging_buys_nothing_more(tmp_path, answered, number, workers, found):
    drawn, longest = random.Random(int(number) + workers), 0.0
    times = STOPS if workers == 2 else 2
    for turn in range(times):
        folder = tmp_path / str(turn)
        folder.mkdir()
        n_asked = drawn.randint(1, 60)
        longest = max(longest, stop_while_judging(folder, answered, number, workers, n_asked, to_group=turn % 2 == 0))
    found(f"{signal.Signals(number).name} to {workers} worker(s) with a paid judge", times, longest)


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_stops_at_once(tmp_path, answered, workers):
    with slow_server(20.0) as server:
        slow = server.behave
        server.behave = lambda asked: (honest if asked.number < CANARIES else slow)(asked)
        process = start_judging(tmp_path, server, answered, workers)
        wait_until(lambda: len(server.asked) >= CANARIES + WIDTH * workers)
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1.0)
        assert process.poll() is None
        seconds, err = stop(process, signal.SIGINT)
        assert process.returncode == 130 and seconds < MOST
        assert "Traceback" not in err and "Stopped at once" in err
        wait_until(lambda: not alive(process.pid), 5)


def long_study(folder):
    """Tuning that takes minutes."""
    write_rows(folder / "few.jsonl", rows_of("benchmark.jsonl")[::15])
    write_rows(folder / "useful.jsonl", rows_of("utility.jsonl")[::20])
    conditions = {
        f"{name}": {**SMALL["conditions"]["harm-2"], "tune": {"epochs": 900 + n}} for n, name in enumerate("ab")
    }
    path = folder / "long.yaml"
    settings = {**SMALL, "conditions": conditions, "tune": {**SMALL["tune"], "schedule": "linear"}}
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


@pytest.mark.long
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_stops_while_it_tunes(tmp_path, number, workers):
    process = start(long_study(tmp_path), tmp_path / "run", "--workers", str(workers))
    wait_until(lambda: len(list(tmp_path.glob("run/checkpoints/*"))) == workers or process.poll() is not None)
    time.sleep(1.0)
    seconds, err = stop(process, number)
    check_stopped(process, number, seconds, err, 0.0)


@pytest.mark.long
@pytest.mark.parametrize("number", CODES)
def test_a_run_stops_while_it_starts(tmp_path, number, found):
    path, drawn, longest = long_study(tmp_path), random.Random(int(number)), 0.0
    times = 3 * STOPS
    for turn in range(times):
        folder = tmp_path / str(turn)
        process = start(path, folder, "--workers", "2")
        wait_until(lambda folder=folder: (folder / ".lock").exists())
        time.sleep(drawn.uniform(0, 3))
        seconds, err = stop(process, number, to_group=True)
        longest = max(longest, seconds)
        assert process.returncode == CODES[number], err
        assert seconds < MOST
        assert "Traceback" not in err and "resource_tracker" not in err
        wait_until(lambda process=process: not alive(process.pid), 1)
    found(f"{signal.Signals(number).name} while 2 workers start", times, longest)


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_stopped_while_answering_goes_on_to_the_same_end(tmp_path, workers):
    write_rows(tmp_path / "some.jsonl", rows_of("benchmark.jsonl")[::4])
    path = tmp_path / "served.yaml"
    with Double(
        lambda asked: says(f"I cannot help with {asked.question}", wait=REPLY), models=["one", "two"]
    ) as server:
        settings = {
            **SMALL,
            "model": "served:one",
            "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": "some.jsonl"}, "judges": "keyword"}},
            "generate": {"kind": "server", "base_url": server.url, "concurrency": WIDTH},
            "conditions": {"other": {"checkpoint": "served:two"}},
        }
        del settings["tune"]
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        process = start(path, tmp_path / "run", "--workers", str(workers))
        wait_until(lambda: len(server.asked) > 2 * WIDTH * workers or process.poll() is not None)
        n_asked = len(server.asked)
        seconds, err = stop(process, signal.SIGINT)
        check_stopped(process, signal.SIGINT, seconds, err)
        assert len(server.asked) <= n_asked + WIDTH * workers
        finish(path, tmp_path / "run")
        answered = [file.read_bytes().count(b"\n") for file in tmp_path.glob("run/conditions/*/answers.jsonl")]
        assert answered == [83, 83]


API = """
import sys, holdfast
try:
    holdfast.run(sys.argv[1], out=sys.argv[2], workers=int(sys.argv[3]), progress=False)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_in_python_the_same_stop_raises_keyboard_interrupt(tmp_path, answered, workers):
    with slow_server(REPLY) as server:
        shutil.copytree(answered, tmp_path / "run")
        command = [sys.executable, "-c", API, study(tmp_path, server), tmp_path / "run", str(workers)]
        process = subprocess.Popen(
            list(map(str, command)), env={**os.environ, **environment(tmp_path)}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        wait_until(lambda: len(server.asked) > CANARIES + 3 * WIDTH * workers)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (out, err, process.returncode) == ("interrupted\n", "", 0)
        assert len(stored(tmp_path / "run")) == len(server.paid) - CANARIES
        wait_until(lambda: not alive(process.pid), 1)
