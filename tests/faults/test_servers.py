"""Servers that never end, send too much, send elsewhere or repeat what is secret do no harm."""

import time
import tracemalloc

import pytest
from support.endpoint_double import Act, Double, FakeTime, bombs, drips, floods, says

from holdfast.core.budget import NoBudget
from holdfast.core.errors import ModelError
from holdfast.models.endpoint import Endpoint, Request, Timing, complete

MOVED = [301, 302, 303, 307, 308]

LARGE = 120_000_000
"""Bytes of a body that must not be held in memory."""


def requests(n, max_tokens=10):
    return [Request(f"r{i}", "base", [{"role": "user", "content": str(i)}], max_tokens) for i in range(n)]


def ask(server, n=1, **settings):
    """The replies to n requests; waiting takes no time."""
    fake = FakeTime()
    endpoint = Endpoint(base_url=server.url, **{"max_attempts": 2, "timeout_s": 30, **settings})
    return list(complete(endpoint, requests(n), NoBudget(), Timing(fake.clock, fake.sleep)))


@pytest.fixture
def memory():
    """Gives the most bytes that Python held at once since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("headers", [False, True], ids=["body", "headers"])
def test_a_reply_that_comes_byte_by_byte_is_given_up_when_its_time_is_over(headers):
    begun = time.monotonic()
    with Double(lambda asked: drips(0.05, headers)) as server:
        replies = ask(server, 4, timeout_s=0.3)
    assert time.monotonic() - begun < 5
    assert [reply.outcome for reply in replies] == ["error"] * 4
    assert replies[0].detail == "no whole reply within 0.3 s (`timeout_s`) (2 attempts)"


def test_a_model_list_that_never_ends_is_given_up():
    with Double(lambda asked: says("Yes.")) as server:
        server.answer_get = lambda path: drips(0.1)
        begun = time.monotonic()
        with pytest.raises(ModelError, match=r"no whole reply within 0.2 s"):
            Endpoint(base_url=server.url, timeout_s=0.2).listed()
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize("act", [floods(LARGE), bombs(LARGE)], ids=["large", "gzip bomb"])
def test_a_reply_that_is_too_large_is_given_up_and_not_held_in_memory(act, memory):
    with Double(lambda asked: act) as server:
        [reply] = ask(server)
        assert len(server.asked) == 1  # another attempt would bring the same, and may be charged for
    assert reply.outcome == "error"
    assert reply.detail == "the reply is larger than 16 MB"
    assert memory() < 60_000_000


@pytest.mark.parametrize("act", [floods(LARGE), bombs(LARGE)], ids=["large", "gzip bomb"])
def test_a_model_list_that_is_too_large_is_given_up(act, memory):
    with Double(lambda asked: says("Yes.")) as server:
        server.answer_get = lambda path: act
        with pytest.raises(ModelError, match="the reply is larger than 16 MB"):
            Endpoint(base_url=server.url).listed()
    assert memory() < 60_000_000


def test_a_compressed_reply_is_read_and_a_coding_that_nobody_asked_for_is_said_so():
    compressed = bombs(1000, says("Yes."))
    other = Act(content=b"abc", headers={"Content-Encoding": "br"})
    with Double(lambda asked: [compressed, other][asked.number]) as server:
        assert ask(server)[0].text == "Yes."
        assert ask(server)[0].detail == "the reply is coded as 'br', which was not asked for"


@pytest.mark.parametrize("bomb", [False, True], ids=["large", "gzip bomb"])
def test_a_file_of_a_batch_is_read_in_pieces_and_a_line_that_is_too_long_left_out(bomb, memory):
    def get(path):
        if not path.endswith("output_file_id/content"):
            return None
        rows = server.batches.get(path).content
        content = b"0" * 100_000_000 + b"\n" + rows
        return bombs(0, Act(content=content)) if bomb else Act(content=content)

    def to(asked):
        return says(f"to {asked.question}")

    with Double(to) as server:
        server.answer_get = get
        replies = ask(server, 20, batch=True)
    assert {reply.id: reply.text for reply in replies} == {f"r{i}": f"to {i}" for i in range(20)}
    assert memory() < 260_000_000  # twice 100 MB are the server's own


def test_a_file_of_a_batch_that_is_too_large_stops_the_run_and_can_be_read_later(monkeypatch, cache):
    from holdfast.models.endpoint import batch

    monkeypatch.setattr(batch, "MOST_FILE_BYTES", 10_000)
    with Double(lambda asked: says("x" * 1000)) as server:
        with pytest.raises(ModelError, match="the reply is larger than 0 MB"):
            ask(server, 20, batch=True)
        monkeypatch.setattr(batch, "MOST_FILE_BYTES", 10_000_000)
        assert len(ask(server, 20, batch=True)) == len(server.paid) == 20


def moved(status, to):
    return Act(status, b"{}", {"Location": to})


@pytest.mark.parametrize("status", MOVED)
@pytest.mark.parametrize("same_host", [False, True])
def test_a_request_is_never_sent_on_to_another_address(status, same_host, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    with Double(lambda asked: says("Yes.")) as other, Double(lambda asked: act) as server:
        server.answer_get = lambda path: act
        target = server if same_host else other
        act = moved(status, target.url.replace("://", "://user:word@") + "/chat/completions?q=1")
        where = target.url.removesuffix("/v1")
        with pytest.raises(ModelError, match=rf"sends requests on to {where} \(HTTP {status}\), .*`base_url`"):
            ask(server, 40, api_key_env="SOME_KEY", concurrency=1)
        assert len(server.asked) == 1
        with pytest.raises(ModelError, match=f"does not list its models: it sends requests on to {where}"):
            Endpoint(base_url=server.url).listed()
    assert not other.asked and not other.posts and len(server.asked) == 1


@pytest.mark.parametrize("to", ["", "http://[", "//\u202e", "http://" + "x" * 5000, "javascript:alert(1)"])
def test_a_redirect_to_nowhere_is_refused_in_words(to):
    act = moved(307, to.encode("latin-1", "replace").decode("latin-1"))
    with Double(lambda asked: act) as server, pytest.raises(ModelError, match="sends requests on to") as caught:
        ask(server)
    assert len(str(caught.value)) < 500


def test_a_batch_is_never_sent_on_to_another_address():
    with Double(lambda asked: says("Yes.")) as other, Double(lambda asked: says("Yes.")) as server:
        server.answer_get = lambda path: moved(308, f"{other.url}{path.removeprefix('/v1')}")
        with pytest.raises(ModelError, match="takes no batch now: it sends requests on to"):
            ask(server, 20, batch=True)
        server.batches.post = lambda path, content: moved(307, f"{other.url}{path.removeprefix('/v1')}")
        with pytest.raises(ModelError, match=r"sends requests on to|does not list its batches"):
            ask(server, 20, batch=True)
    assert not other.batches.made and not other.batches.files and not other.posts
