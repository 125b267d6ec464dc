"""Servers that never end, send too much, send elsewhere or repeat what is secret do no harm."""

import json
import time
import tracemalloc
from types import SimpleNamespace

import pytest
from support.endpoint_double import Act, Double, FakeTime, bombs, drips, fails, floods, says

from holdfast.core.budget import NoBudget
from holdfast.core.errors import ModelError
from holdfast.core.types import Message
from holdfast.models.endpoint import Endpoint, Request, Timing, complete, post
from holdfast.models.samplers.base import Question
from holdfast.models.samplers.inspect_model import InspectModel
from holdfast.models.samplers.server import Server

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


@pytest.mark.long
@pytest.mark.parametrize("headers", [False, True], ids=["body", "headers"])
def test_a_reply_that_comes_byte_by_byte_is_given_up_when_its_time_is_over(headers):
    begun = time.monotonic()
    with Double(lambda asked: drips(0.05, headers)) as server:
        replies = ask(server, 4, timeout_s=0.3)
    assert time.monotonic() - begun < 5
    assert [reply.outcome for reply in replies] == ["error"] * 4
    assert replies[0].detail == "no whole reply within 0.3 s (`timeout_s`) (2 attempts)"


@pytest.mark.long
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


@pytest.mark.long
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


KEY = "sk-secret-0123456789"


def repeats(written):
    """A reply that holds the key in every text; `written` is how its JSON writes the key."""
    act = says("It is KEY.", model="base@KEY", reasoning_content="The key is KEY.", logprobs=[-1.0])
    return Act(content=act.content.replace(b'"x"', b'"KEY"').replace(b"KEY", written.encode()), paid=True)


@pytest.mark.long
@pytest.mark.parametrize("batch", [False, True])
def test_a_key_that_a_server_repeats_is_in_no_reply_file_or_error(batch, monkeypatch, cache, caplog):
    monkeypatch.setenv("SOME_KEY", KEY)
    escaped = KEY.replace("s", "\\u0073")

    def behave(asked):
        refused = fails(400, f"no {KEY}", KEY), fails(400, f"filtered {KEY}", "content_filter"), says("x", KEY)
        return (repeats(KEY), repeats(escaped), *refused)[int(asked.question) % 5]

    with Double(behave, key=KEY) as server:
        replies = ask(server, 40, batch=batch, api_key_env="SOME_KEY")
    assert len(replies) == 40 and KEY not in repr(replies) + caplog.text
    assert {reply.text for reply in replies if reply.outcome == "ok"} == {"It is [key]."}
    by_name = {reply.id: reply for reply in replies}
    assert by_name["r0"].thinking == "The key is [key]." and by_name["r1"].model == "base@[key]"
    assert by_name["r0"].logprobs == (("[key]", -1.0),)
    assert (
        "no [key]" in by_name["r2"].detail
        and "filtered [key]" in by_name["r3"].detail
        and "'[key]'" in by_name["r4"].detail
    )
    assert not [path for path in cache.rglob("*") if path.is_file() and KEY in path.read_text(errors="replace")]


def ask_server(server, model="base", **settings):
    """Everything that a server can be asked, up to the first error."""
    endpoint = Server(base_url=server.url, api_key_env="SOME_KEY", model=model, **settings)
    endpoint.require(model)
    post(endpoint, "/load_lora_adapter", {"lora_name": "x", "lora_path": "/x"})
    list(endpoint.ask([Question(f"q{i}", (Message("user", str(i)),)) for i in range(30)], NoBudget()))


def named(place):
    return Act(content=json.dumps({"id": f"{place}-{KEY}", "object": place, "status": "in_progress"}).encode())


@pytest.mark.long
@pytest.mark.parametrize("place", ["model list", "list", "lora", "redirect", "other model", "file", "batch"])
def test_a_key_that_a_server_repeats_is_in_no_message(place, monkeypatch, cache):
    monkeypatch.setenv("SOME_KEY", KEY)
    away = moved(307, f"http://{KEY}.example/v1")
    act = away if place == "redirect" else says("Yes.", model=f"{KEY}/other" if place == "other model" else None)
    settings = {"batch": place in ("file", "batch"), "model": "nobody" if place == "model list" else "base"}
    with Double(lambda asked: act, models=["base", KEY], adapters=True) as server:
        real = server.batches.post
        if place == "list":
            server.answer_get = lambda path: away
        if place == "lora":
            server.post = lambda path, body: fails(400, f"no {KEY}", 400)
        if settings["batch"]:
            server.batches.post = lambda path, content: named(place) if place in path else real(path, content)
        with pytest.raises(ModelError) as caught:
            ask_server(server, **settings)
    assert KEY not in str(caught.value) and "[key]" in str(caught.value)
    assert not [path for path in cache.rglob("*") if path.is_file() and KEY in path.read_text(errors="replace")]


def test_a_key_that_is_no_secret_changes_no_answer(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "none")
    with Double(lambda asked: says("I have none."), key="none") as server:
        assert ask(server, api_key_env="SOME_KEY")[0].text == "I have none."


@pytest.mark.long
def test_a_key_that_a_provider_of_inspect_repeats_is_in_no_reply(monkeypatch):
    output = pytest.importorskip("inspect_ai.model").ModelOutput.from_content("base", f"It is {KEY}.")

    async def generate(messages, config):
        if messages[0].content == "0":
            return output
        raise RuntimeError(f"no {KEY}")

    model = SimpleNamespace(api=SimpleNamespace(api_key=KEY), generate=generate)
    monkeypatch.setattr(InspectModel, "_model", lambda self: model)
    asked = [Question(f"q{i}", (Message("user", str(i)),)) for i in range(2)]
    replies = {reply.id: reply for reply in InspectModel(model="some/base").ask(asked, NoBudget())}
    assert replies["q0"].text == "It is [key]." and "no [key]" in replies["q1"].detail
