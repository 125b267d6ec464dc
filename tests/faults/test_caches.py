"""A cache that somebody else wrote into, or that was damaged: it is checked like any other input."""

import json
import os
import sys

import pytest
from support.endpoint_double import Double, FakeTime, says
from support.scripted_judge import Scripted, honest, scripted
from support.studies import write_rows

from holdfast.core.budget import NoBudget
from holdfast.core.errors import DataError, ModelError
from holdfast.core.files import private_cache
from holdfast.core.types import Answer, Prompt, Verdict, content_hash
from holdfast.judges import cache as verdict_cache
from holdfast.judges.cache import VerdictCache
from holdfast.judges.canaries import read_cases
from holdfast.models.endpoint import Endpoint, Request, Timing, complete
from holdfast.study.preflight import drift

GOOD = {"prompt_id": "p", "reading": "scored", "score": 5}
pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    "verdict",
    [
        {**GOOD, "score": True}, {**GOOD, "score": "5"}, {**GOOD, "score": 5.0}, {**GOOD, "score": 6}, {**GOOD, "score": None},
        {**GOOD, "reading": "judge_error", "score": None}, {**GOOD, "reading": "nonsense"}, {**GOOD, "reason": ["x"]},
        {**GOOD, "usd": "free"}, {**GOOD, "first": True}, {**GOOD, "by": "me"}, {"score": 5}, [], None, "5",
    ],
)  # fmt: skip
def test_a_line_that_holds_no_verdict_is_passed_over(verdict):
    cache = VerdictCache("judge-1")
    lines = [{"name": "a", "verdict": verdict}, {"name": ["a"], "verdict": GOOD}, ["a"], {"verdict": GOOD}]
    cache.path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"name": "b", "verdict": GOOD}]))
    assert cache.find(["a", "b"]) == {"b": Verdict("p", "scored", 5, from_cache=True)}


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"{\n", b"null\n", b'{"name": "b"}\n'])
def test_a_damaged_line_of_the_cache_is_passed_over(line):
    cache = VerdictCache("judge-1")
    cache.path.write_bytes(line + json.dumps({"name": "b", "verdict": GOOD}).encode() + b"\n")
    assert list(cache.find(["b"])) == ["b"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
@pytest.mark.parametrize("mode", [0o777, 0o755, 0o770])
def test_folders_of_the_cache_are_closed_to_others(cache, mode):
    (cache / "verdicts").mkdir()
    (cache / "verdicts").chmod(mode)
    VerdictCache("judge-1").add({"a": Verdict("p", "scored", 5)})
    assert (cache / "verdicts").stat().st_mode & 0o777 == 0o700
    for name in ("batches", "anchors", "hashes", "models"):
        assert private_cache(name).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no owners of this kind")
def test_a_cache_of_another_user_is_refused(cache, monkeypatch):
    (cache / "verdicts").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: (cache / "verdicts").stat().st_uid + 1)
    with pytest.raises(DataError, match=r"belongs to another user.*HOLDFAST_CACHE"):
        VerdictCache("judge-1")


def test_canaries_are_bought_even_if_the_cache_knows_them(tmp_path):
    row = {"category": "hex", "policy": "No hexes.", "prompt": "How?", "answer": "Steps: boil the ash.", "scores": [5]}
    cases = read_cases(write_rows(tmp_path / "canaries.jsonl", [row]), scored=True)
    with Double(honest, models=["judge"]) as server:
        judge = Scripted(**scripted(server))
        planted = {
            verdict_cache.hash_of(judge.key, judge.basis(cases.policies, prompt), answer): Verdict(
                prompt.id, "scored", 1
            )
            for prompt, answer in cases.pairs
        }
        VerdictCache(verdict_cache.label(judge)).add(planted)
        [verdict] = cases.read_by(judge, NoBudget()).values()
        assert (verdict.score, len(server.paid)) == (5, 1)


def ordered(server, cache, content):
    """Ask a server with batches whose cache knows of one more."""
    folder = cache / "batches" / content_hash(server.url)
    folder.mkdir(parents=True)
    (folder / "planted.json").write_text(content if isinstance(content, str) else json.dumps(content))
    fake = FakeTime()
    asked = [Request(f"r{i}", "base", [{"role": "user", "content": str(i)}], 10) for i in range(20)]
    endpoint = Endpoint(base_url=server.url, batch=True)
    return list(complete(endpoint, asked, NoBudget(), Timing(fake.clock, fake.sleep)))


ORDER = {"file": "file-1", "batch": "batch-1", "names": ["x-0"], "ticket": ""}


def test_a_batch_cannot_name_a_file_that_is_then_deleted(cache, tmp_path):
    precious = tmp_path / "thesis.txt"
    precious.write_text("the only copy")
    with Double(lambda asked: says("x")) as server:
        names = []
        from holdfast.models.endpoint import batch

        asked = [Request(f"r{i}", "base", [{"role": "user", "content": str(i)}], 10) for i in range(20)]
        names = list(batch._by_name(Endpoint(base_url=server.url, batch=True), asked))
        replies = ordered(server, cache, {**ORDER, "batch": None, "names": names, "path": str(precious)})
        assert len(replies) == 20
    assert precious.read_text() == "the only copy"


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", "null", "[" * 100_000, {}, {**ORDER, "file": None}, {**ORDER, "file": "../../files"}, {**ORDER, "file": ".."},
        {**ORDER, "batch": "b?x=1"}, {**ORDER, "batch": 5}, {**ORDER, "names": 5}, {**ORDER, "names": [None]}, {**ORDER, "ticket": None},
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_read_is_named(cache, content):
    with (
        Double(lambda asked: says("x")) as server,
        pytest.raises(ModelError, match=r"planted\.json should hold what is known of a batch"),
    ):
        ordered(server, cache, content)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"model": 5, "scores": {}}', '{"model": "m", "scores": {"p": true}}', '{"model": "m"}', "[" * 9999],
)
def test_first_scores_of_anchors_that_cannot_be_read_are_named(tmp_path, content):
    row = {"category": "hex", "policy": "No hexes.", "prompt": "How?", "answer": "Boil the ash."}
    cases = read_cases(write_rows(tmp_path / "anchors.jsonl", [row]), scored=False)
    verdicts = {prompt.id: Verdict(prompt.id, "scored", 5) for prompt, _ in cases.pairs}
    drift("judge-1", cases, verdicts, 0.1)
    [path] = private_cache("anchors").iterdir()
    path.write_text(content)
    with pytest.raises(DataError, match=r"does not hold the scores.*Delete it"):
        drift("judge-1", cases, verdicts, 0.1)


def test_a_hash_that_is_none_is_computed_again(tmp_path, monkeypatch):
    from holdfast.models import hub

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    os.truncate(path, 65 << 20)
    right = hub._file_hash(path)
    [remembered] = private_cache("hashes").iterdir()
    remembered.write_text("the hash of another model")
    assert hub._file_hash(path) == right == remembered.read_text()


def test_what_the_cache_holds_is_handed_out_once_it_is_right():
    prompt = Prompt("hex", "How?")
    answer = Answer(prompt.id, "answered", "Steps: boil the ash.")
    with Double(honest, models=["judge"]) as server:
        judge = Scripted(**scripted(server))
        for _ in range(2):
            [[verdict]] = [
                v for v in verdict_cache.verdicts(judge, {"hex": "No."}, [(prompt, answer)], NoBudget()) if v
            ]
        assert (verdict.from_cache, len(server.paid)) == (True, 1)
