"""Runs on two machines that share a disk: the second one is refused, unless the first is dead."""

import json
import threading

import pytest

from holdfast.core import lease, run_folder
from holdfast.core.errors import RunFolderError
from holdfast.core.run_folder import RunFolder


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.02)
    monkeypatch.setattr(lease, "LOOK", 0.02)
    monkeypatch.setattr(lease, "STILL", 0.3)
    monkeypatch.setattr(lease, "SETTLE", 0.0)


@pytest.fixture
def no_file_locks(monkeypatch):
    """A disk that has no file locks, as some cluster file systems have none."""

    def refuse(*arguments, **settings):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(run_folder.FileLock, "acquire", refuse)


def as_machine(patch, name):
    patch.setattr(lease.socket, "gethostname", lambda: name)


def test_a_second_machine_is_refused_by_name_even_where_the_disk_has_no_file_locks(
    tmp_path, monkeypatch, no_file_locks
):
    as_machine(monkeypatch, "first")
    with RunFolder(tmp_path).lock():
        as_machine(monkeypatch, "second")
        with pytest.raises(RunFolderError, match=r"another run is at work in .*: process \d+ on first"):
            RunFolder(tmp_path).lock().__enter__()
    with RunFolder(tmp_path).lock():  # the first one has ended
        pass
    assert not (tmp_path / lease.HOLDER).exists()


def test_a_run_of_this_machine_names_the_process_that_has_the_folder(tmp_path):
    with RunFolder(tmp_path).lock(), pytest.raises(RunFolderError, match=r"another run is at work .*process \d+ on"):
        RunFolder(tmp_path).lock().__enter__()


@pytest.mark.parametrize(
    "content", [b'{"owner": "x", "machine": "gone", "process": 1, "beat": 2}', b"", b"[1]", b"\xff"]
)
def test_a_folder_of_a_dead_machine_is_taken_after_a_while(tmp_path, content):
    (tmp_path / lease.HOLDER).write_bytes(content)
    notes = []
    with RunFolder(tmp_path).lock(notes.append):
        assert json.loads((tmp_path / lease.HOLDER).read_bytes())["owner"] != "x"
    assert "may be at work in it. It is watched for" in notes[0]
    assert not (tmp_path / lease.HOLDER).exists()


def test_a_folder_of_a_killed_process_of_this_machine_is_taken_at_once(tmp_path):
    held = RunFolder(tmp_path).lock()
    held.__enter__()
    holder = json.loads((tmp_path / lease.HOLDER).read_bytes())
    held.__exit__(None, None, None)
    (tmp_path / lease.HOLDER).write_text(json.dumps({**holder, "owner": "x", "process": 2**22 + 1}))
    notes = []
    with RunFolder(tmp_path).lock(notes.append):
        pass
    assert notes == []


def test_of_two_machines_that_take_a_dead_ones_folder_at_once_one_gets_it(tmp_path, monkeypatch, no_file_locks):
    monkeypatch.setattr(lease, "SETTLE", 0.3)
    (tmp_path / lease.HOLDER).write_bytes(b'{"machine": "gone"}')
    leases = [lease.Lease(lease.DiskSlip(tmp_path / lease.HOLDER), "it", print) for _ in range(2)]
    refused = []

    def take(one):
        try:
            one._take()
        except RunFolderError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take, args=(one,)) for one in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1


def test_a_run_whose_folder_was_taken_over_stops_at_its_next_safe_point(tmp_path, monkeypatch):
    left = threading.Event()
    monkeypatch.setattr(lease.stopping, "leave_to_check", lambda number: left.set())
    notes = []
    with RunFolder(tmp_path).lock(notes.append):
        (tmp_path / lease.HOLDER).write_bytes(b'{"owner": "other", "machine": "other", "process": 3}')
        assert left.wait(5)
    assert "has taken it over, so this one stops" in notes[0]
    assert (tmp_path / lease.HOLDER).exists()  # it is the other run's


def test_a_folder_whose_holder_ends_while_it_is_watched_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "STILL", 60.0)
    (tmp_path / lease.HOLDER).write_bytes(b'{"machine": "other"}')
    ending = threading.Timer(0.1, (tmp_path / lease.HOLDER).unlink)
    ending.start()
    with RunFolder(tmp_path).lock():
        assert json.loads((tmp_path / lease.HOLDER).read_bytes())["machine"] != "other"
    ending.join()
