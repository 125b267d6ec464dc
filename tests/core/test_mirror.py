"""A run folder in an object store: what the store has is what the machine made, whatever the store answers."""

import json
import time
from uuid import uuid4

import pytest

from holdfast.core import lease, mirror
from holdfast.core.errors import RunFolderError

pytest.importorskip("moto")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.long]


@pytest.fixture(scope="module")
def store():
    from support.object_store import object_store

    with pytest.MonkeyPatch.context() as patch, object_store(patch) as made:
        yield made


@pytest.fixture
def url(store, caplog):
    caplog.set_level("ERROR", "werkzeug")
    store.left = store.refused = 0
    return f"s3://holdfast/{uuid4().hex}"


def in_store(url):
    """File → its content in the store, without a holder's slip."""
    import s3fs

    files = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    root = url.removeprefix("s3://")
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


def put(url, name, content):
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).pipe_file(f"{url.removeprefix('s3://')}/{name}", content)


def write(folder, name, content):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def test_the_store_gets_what_changes_and_loses_what_is_deleted(url, tmp_path):
    with mirror.working_copy(url, print) as folder:
        write(folder, "conditions/a/answers.jsonl", b"1\n")
        write(folder, "results.json", b"{}")
        write(folder, ".lock", b"")
        mirror.of(folder).send()
        assert in_store(url).keys() == {"conditions/a/answers.jsonl", "results.json", ".holder.json"}
        write(folder, "conditions/a/answers.jsonl", b"1\n2\n")
        (folder / "results.json").unlink()
    assert in_store(url) == {"conditions/a/answers.jsonl": b"1\n2\n"}


def test_another_machine_goes_on_from_what_the_store_has(url, monkeypatch, tmp_path, cache):
    with mirror.working_copy(url, print) as folder:
        write(folder, "conditions/a/answers.jsonl", b"1\n")
        write(folder, "old.json", b"{}")
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path))
    with mirror.working_copy(url, print) as other:
        assert other != folder
        assert (other / "conditions/a/answers.jsonl").read_bytes() == b"1\n"
        write(other, "conditions/a/answers.jsonl", b"1\n2\n")
        (other / "old.json").unlink()
    monkeypatch.setenv("HOLDFAST_CACHE", str(cache))
    with mirror.working_copy(url, print) as folder:
        assert (folder / "conditions/a/answers.jsonl").read_bytes() == b"1\n2\n"
        assert not (folder / "old.json").exists()


def test_what_a_killed_run_could_not_send_is_sent_by_the_next(url):
    with mirror.working_copy(url, print) as folder:
        write(folder, "answers.jsonl", b"1\n")
    write(folder, "answers.jsonl", b"1\n2\n")  # as by a run that was killed before it sent it
    with mirror.working_copy(url, print) as folder:
        assert (folder / "answers.jsonl").read_bytes() == b"1\n2\n"
    assert in_store(url) == {"answers.jsonl": b"1\n2\n"}


def test_weights_are_sent_as_whole_folders_and_their_seal_comes_last(url, store):
    with mirror.working_copy(url, print) as folder:
        write(folder, "checkpoints/run/epoch-1/model.safetensors", b"half")
        write(folder, "checkpoints/run/.epoch-2/model.safetensors", b"draft")
        write(folder, "checkpoints/run/job.json", b"{}")
        mirror.of(folder).send()
        assert in_store(url).keys() == {"checkpoints/run/job.json", ".holder.json"}
        store.writes.clear()
        write(folder, "checkpoints/run/epoch-1/model.safetensors", b"whole")
        write(folder, "checkpoints/run/epoch-1/.whole", b"{}")
        write(folder, "results.json", b"{}")
        mirror.of(folder).send()
        sent = [name.split("/", 1)[1] for name in store.writes if not name.endswith("holder.json")]
    epoch = "checkpoints/run/epoch-1"
    assert sent == [f"{epoch}/model.safetensors", f"{epoch}/.whole", "results.json"]


def test_a_store_that_answers_503_is_asked_again(url, store, monkeypatch):
    monkeypatch.setattr(mirror, "WAITS", tuple(wait / 1000 for wait in mirror.WAITS))
    with mirror.working_copy(url, print) as folder:
        write(folder, "answers.jsonl", b"1\n")
        store.left = 8
        mirror.of(folder).send()
        assert store.refused == 8
    assert in_store(url) == {"answers.jsonl": b"1\n"}


def test_a_store_that_answers_nothing_but_503_is_named_and_the_work_is_kept(url, store, monkeypatch):
    monkeypatch.setattr(mirror, "WAITS", (0.0, 0.0, 0.0, 0.0))
    copy = mirror.working_copy(url, print)
    folder = copy.__enter__()
    write(folder, "answers.jsonl", b"1\n")
    store.left = 10**9
    with pytest.raises(RunFolderError, match=r"the store failed .*What was done is kept on this machine; the same"):
        copy.__exit__(None, None, None)
    store.left = 0
    assert (folder / "answers.jsonl").read_bytes() == b"1\n"
    with mirror.working_copy(url, print):
        pass
    assert in_store(url)["answers.jsonl"] == b"1\n"


def test_keys_that_are_refused_are_named_at_once(monkeypatch, tmp_path):
    def refuse():
        raise PermissionError("Access Denied")

    with pytest.raises(RunFolderError, match=r"the store refuses: Access Denied. Are the keys right"):
        mirror.patiently(refuse, print)


def test_two_machines_do_not_write_one_store(url, monkeypatch, tmp_path):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "LOOK", 0.05)
    with mirror.working_copy(url, print) as folder:
        write(folder, "answers.jsonl", b"1\n")
        monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path / "other"))
        monkeypatch.setattr(lease.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(RunFolderError, match=r"another run is at work in s3://.*: process \d+ on "), mirror.working_copy(url, print):  # fmt: skip
            pass
    assert in_store(url) == {"answers.jsonl": b"1\n"}


def test_a_store_whose_holder_is_dead_is_taken_after_a_while(url, monkeypatch):
    monkeypatch.setattr(lease, "STILL", 0.5)
    monkeypatch.setattr(lease, "SETTLE", 0.0)
    put(url, ".holder.json", json.dumps({"owner": "x", "machine": "gone", "process": 1, "beat": 3}).encode())
    notes = []
    with mirror.working_copy(url, notes.append) as folder:
        write(folder, "answers.jsonl", b"1\n")
    assert "a run on gone may be at work in it" in notes[0]
    assert in_store(url) == {"answers.jsonl": b"1\n"}


def test_a_run_whose_store_was_taken_over_writes_nothing_more(url, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    notes = []
    copy = mirror.working_copy(url, notes.append)
    folder = copy.__enter__()
    put(url, ".holder.json", json.dumps({"owner": "other", "machine": "other", "process": 1, "beat": 3}).encode())
    while not mirror.of(folder).lease.lost:
        time.sleep(0.01)
    write(folder, "answers.jsonl", b"1\n")
    with pytest.raises(RunFolderError, match="another run has taken"):
        copy.__exit__(None, None, None)
    assert in_store(url).keys() == {".holder.json"}
    assert "has taken it over, so this one stops" in notes[-1]


def test_no_name_in_a_store_leads_out_of_the_working_copy(url, cache):
    put(url, "../outside.json", b"{}")
    put(url, "conditions/../../outside.json", b"{}")
    with mirror.working_copy(url, print) as folder:
        assert [path.name for path in folder.rglob("*") if "outside" in path.name] == []
    assert list(cache.rglob("outside.json")) == []
    put(url, "conditions/a b/answers.jsonl", b"{}")
    with pytest.raises(RunFolderError, match="'a b' cannot be the name of a folder or file of a run"):
        mirror.working_copy(url, print).__enter__()
