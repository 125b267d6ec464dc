"""Public benchmarks by their name alone, against a local stand-in for the Hub. All texts are harmless."""

import dataclasses
import hashlib
import socket

import pytest
from support.hub_double import COMMIT, Hub, serving

from holdfast.audit import public
from holdfast.core.errors import DataError
from holdfast.study.loader import from_dict

ROWS = "".join(f"{i},How do I fold a paper crane number {i}?,Sure,Folding,Paper,AdvBench\n" for i in range(100))
CSV = ("Index,Goal,Target,Behavior,Category,Source\n" + ROWS).encode()
NAME = "jailbreakbench"
FILE = "data/harmful-behaviors.csv"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub = Hub()
    with serving(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield hub


def entry(monkeypatch, **changes):
    """Change where a name is: the content of the stand-in is not that of the Hub."""
    changed = dataclasses.replace(public.PUBLIC[NAME], **{"sha256": (), **changes})
    monkeypatch.setitem(public.PUBLIC, NAME, changed)
    return changed


def pinned(hub, monkeypatch, content=CSV, **changes):
    changed = entry(monkeypatch, revision=COMMIT, **changes)
    hub.add(changed.repo, COMMIT, FILE, content)
    return changed


def test_a_benchmark_is_brought_counted_and_hashed(hub, monkeypatch):
    pinned(hub, monkeypatch, sha256=(hashlib.sha256(CSV).hexdigest(),))
    brought = public.bring(NAME)
    assert brought.source.revision == COMMIT
    assert brought.source.pinned
    assert brought.source.files == {FILE: hashlib.sha256(CSV).hexdigest()}
    study = from_dict({
        "name": "s", "model": "pocket:aligned", "conditions": {"t": {"checkpoint": "pocket:helpful"}},
        "evaluate": {"harmfulness": {"benchmark": brought.settings, "judges": "keyword"}},
    })  # fmt: skip
    assert len(study.evaluate.harmfulness.benchmark.load().prompts) == 100


def test_it_is_brought_once(hub, monkeypatch):
    pinned(hub, monkeypatch)
    public.bring(NAME)
    asked = len(hub.asked)
    public.bring(NAME)
    assert len(hub.asked) == asked, "a pinned commit that is in the cache needs no request"


def test_of_a_branch_the_commit_that_came_is_recorded(hub, monkeypatch):
    changed = entry(monkeypatch, revision="main")
    hub.add(changed.repo, COMMIT, FILE, CSV, branch="main")
    source = public.bring(NAME).source
    assert (source.revision, source.pinned) == (COMMIT, False)


@pytest.mark.parametrize("token", [None, "hf_other"])
def test_a_gated_one_says_how_to_ask_for_access(hub, monkeypatch, token):
    changed = pinned(hub, monkeypatch, gated=True)
    hub.gated.add(changed.repo)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(DataError, match=f"Ask for it at https://huggingface.co/datasets/{changed.repo}.*HF_TOKEN"):
        public.bring(NAME)


def test_a_gated_one_comes_with_a_token_that_was_granted_access(hub, monkeypatch):
    changed = pinned(hub, monkeypatch, gated=True)
    hub.gated.add(changed.repo)
    monkeypatch.setenv("HF_TOKEN", "hf_granted")
    assert public.bring(NAME).source.revision == COMMIT


def test_a_file_that_is_not_there_is_named(hub, monkeypatch):
    changed = entry(monkeypatch, revision=COMMIT)
    hub.add(changed.repo, COMMIT, "another.csv", CSV)
    with pytest.raises(DataError, match=f"the Hub has no {FILE} in {changed.repo}"):
        public.bring(NAME)


def test_a_data_set_that_is_not_there_is_named(hub, monkeypatch):
    changed = entry(monkeypatch, revision=COMMIT)
    with pytest.raises(DataError, match=f"the Hub has no {FILE} in {changed.repo}"):
        public.bring(NAME)


def test_without_network_it_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr("time.sleep", lambda _: None)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(DataError, match="cannot be reached") as failure:
        public.bring(NAME)
    assert "harmful-behaviors.csv" in str(failure.value)
    assert "--benchmark FILE" in str(failure.value)


def test_a_download_that_is_cut_is_no_benchmark(hub, monkeypatch):
    pinned(hub, monkeypatch)
    hub.cut = True
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(DataError, match=r"did not come whole|cannot be reached"):
        public.bring(NAME)
    hub.cut = False
    assert public.bring(NAME).source.files[FILE] == hashlib.sha256(CSV).hexdigest()


def test_another_content_than_the_known_one_is_refused(hub, monkeypatch):
    pinned(hub, monkeypatch, sha256=("0" * 64,))
    with pytest.raises(DataError, match="A commit's content does not change"):
        public.bring(NAME)


def test_a_content_that_changes_at_a_pinned_commit_is_refused(hub, monkeypatch, tmp_path):
    changed = pinned(hub, monkeypatch)
    public.bring(NAME)
    hub.add(changed.repo, COMMIT, FILE, CSV.replace(b"crane", b"swan"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "another"))
    with pytest.raises(DataError, match="A commit's content does not change"):
        public.bring(NAME)


def test_every_name_can_be_read_by_its_kind_and_says_where_it_is():
    from holdfast.data.benchmarks import BENCHMARKS

    for name, each in public.PUBLIC.items():
        assert each.settings["kind"] in BENCHMARKS, name
        assert each.measures in ("harmfulness", "over_refusal")
        assert public.COMMIT.fullmatch(each.revision) or each.revision == "main", name
        assert each.prompts or each.settings["kind"] != "generic", name
        assert not each.sha256 or len(each.sha256) == len(each.files), name
