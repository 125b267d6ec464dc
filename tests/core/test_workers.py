"""Pieces of work in worker processes: how each ends is told, and nothing is lost when a worker dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.studies import Silent

from holdfast.core.errors import DataError
from holdfast.core.progress import Activity, Meter
from holdfast.core.workers import Failure, work_through


def count(piece, progress):
    """Does as many units as the piece says, one after another."""
    meter = Meter(progress, f"counting to {piece}", "numbers", piece)
    meter.begin()
    for _ in range(piece):
        meter.advance(1)


def misbehave(piece, progress):
    """What the piece says: fail, end, or be killed."""
    progress.advance(1)
    if piece == "mistake":
        raise DataError("line 3: no prompt")
    if piece == "bug":
        raise ZeroDivisionError("division by zero")
    if piece == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if piece == "exit":
        sys.exit(3)


def where(piece, progress):
    import torch

    Path(piece).write_text(f"{os.getpid()} {torch.get_num_threads()}")


def sleep(piece, progress):
    Path(piece).write_text(str(os.getpid()))
    time.sleep(60)


def outcomes(work, pieces, workers):
    watcher = Silent()
    return list(work_through(work, pieces, workers, watcher)), watcher


@pytest.mark.parametrize("workers", [1, 2])
def test_every_piece_is_done_and_every_unit_is_told(workers):
    pieces = [30, 5, 0, 1000]
    done, watcher = outcomes(count, pieces, workers)
    assert sorted(done) == [0, 1, 2, 3]
    assert watcher.done == sum(pieces)
    told = {piece: [activity for index, activity in watcher.activities if index == piece] for piece in range(4)}
    for index, piece in enumerate(pieces):
        assert told[index][0] == Activity(f"counting to {piece}", "numbers", 0, piece)
        assert told[index][-1] is None
    if piece := pieces[-1]:
        assert told[3][-2].done == piece


def test_one_worker_is_this_process_and_keeps_the_order(tmp_path):
    pieces = [str(tmp_path / name) for name in "abc"]
    assert outcomes(where, pieces, 1)[0] == [0, 1, 2]
    assert {Path(piece).read_text().split()[0] for piece in pieces} == {str(os.getpid())}


@pytest.mark.long
def test_several_workers_are_processes_of_one_thread_each(tmp_path):
    pieces = [str(tmp_path / name) for name in "abcdef"]
    done, _ = outcomes(where, pieces, 2)
    seen = {tuple(Path(piece).read_text().split()) for piece in pieces}
    assert sorted(done) == [0, 1, 2, 3, 4, 5]
    assert 1 <= len(seen) <= 2
    assert {threads for _, threads in seen} == {"1"}
    assert str(os.getpid()) not in {process for process, _ in seen}


def test_a_progress_is_told_a_few_times_a_second_from_a_worker():
    _, watcher = outcomes(count, [20_000, 0], 2)
    assert watcher.done == 20_000
    assert len(watcher.activities) < 100


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_told_and_the_others_go_on(workers):
    done, watcher = outcomes(misbehave, ["fine", "mistake", "bug", "fine"], workers)
    failures = {outcome.index: outcome for outcome in done if isinstance(outcome, Failure)}
    assert sorted(outcome for outcome in done if isinstance(outcome, int)) == [0, 3]
    assert failures[1] == Failure(1, "line 3: no prompt", "")
    assert failures[2].reason == "ZeroDivisionError: division by zero"
    assert "in misbehave" in failures[2].trace
    assert watcher.done == 4


@pytest.mark.long
def test_a_worker_that_dies_is_named_and_the_others_go_on():
    done, _ = outcomes(misbehave, ["fine", "killed", "fine", "exit", "fine", "killed", "fine"], 2)
    failures = {outcome.index: outcome.reason for outcome in done if isinstance(outcome, Failure)}
    assert sorted(outcome for outcome in done if isinstance(outcome, int)) == [0, 2, 4, 6]
    assert "was killed (SIGKILL)" in failures[1] and "--workers 1" in failures[1]
    assert "ended by itself, with exit code 3" in failures[3]
    assert failures[5] == failures[1]


def test_what_cannot_be_read_in_a_worker_is_a_failure():
    done, _ = outcomes(count, [Unreadable(), 2], 2)
    failure = next(outcome for outcome in done if isinstance(outcome, Failure))
    assert (failure.index, failure.reason) == (0, "ValueError: not here")
    assert 1 in done


class Unreadable:
    """Can be pickled, and not read again."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ValueError("not here")


@pytest.mark.long
def test_leaving_early_ends_the_workers(tmp_path):
    pieces = [str(tmp_path / "a"), str(tmp_path / "b")]
    stream = work_through(sleep_or_count, [*pieces, ""], 3, Silent())
    assert next(stream) == 2
    wait_for(lambda: all(Path(piece).is_file() for piece in pieces))
    stream.close()
    assert not any(alive(int(Path(piece).read_text())) for piece in pieces)


def sleep_or_count(piece, progress):
    if piece:
        sleep(piece, progress)


RUN = """
import sys
from support.studies import Silent
from core.test_workers import sleep
from holdfast.core.workers import work_through
if __name__ == "__main__":
    list(work_through(sleep, sys.argv[1:], 2, Silent()))
"""


@pytest.mark.long
def test_no_worker_outlives_a_run_that_is_killed(tmp_path):
    pieces = [tmp_path / "a", tmp_path / "b"]
    script = tmp_path / "run.py"
    script.write_text(RUN)
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, pieces)], env={**os.environ, "PYTHONPATH": path}
    )  # fmt: skip
    wait_for(lambda: all(piece.is_file() and piece.read_text() for piece in pieces))
    workers = [int(piece.read_text()) for piece in pieces]
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(alive, workers)))


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
