import time
import traceback
from collections import Counter
from email.utils import formatdate
from random import Random

import pytest
from pydantic import ValidationError
from support.endpoint_double import Double, FakeTime, cuts, drops, fails, filters, hangs, says

from holdfast.core.budget import FileBudget, NoBudget
from holdfast.core.errors import BudgetError, ModelError
from holdfast.models.endpoint import Endpoint, Request, Timing, complete
from holdfast.models.endpoint.messages import is_same_model

SECRET = "sk-not-for-anybodys-eyes"


def requests(n, **settings):
    settings = {"model": "base", "max_tokens": 10, **settings}
    return [Request(str(i), messages=[{"role": "user", "content": str(i)}], **settings) for i in range(n)]


def quick(random=0.5):
    """No waiting, as far as the clock tells."""
    fake = FakeTime()
    return Timing(fake.clock, fake.sleep, lambda: random), fake


def ask(server, asked, budget=None, timing=None, **settings):
    endpoint = Endpoint(base_url=server.url, **settings)
    return list(complete(endpoint, asked, budget or NoBudget(), timing or quick()[0]))


def only(act, **settings):
    """The reply to one request that the server answers with one act each time."""
    with Double(lambda asked: act) as server:
        [reply] = ask(server, requests(1, **settings), max_attempts=2)
    return reply


@pytest.mark.long
def test_every_request_is_answered_once_though_three_in_ten_fail():
    draw = Random(0)
    kinds = [lambda: fails(429, retry_after=0), lambda: fails(429), lambda: fails(500), lambda: fails(503), drops, cuts]
    fates = {}
    for name in range(330):
        fates[str(name)] = []
        while draw.random() < 0.3:
            fates[str(name)].append(draw.choice(kinds)())
    for name in range(0, 330, 37):
        fates[str(name)].append(filters())
    for name in range(1, 330, 80):
        fates[str(name)].append(hangs(4.0))
    tried = Counter()

    def behave(asked):
        tried[asked.question] += 1
        fate = fates[asked.question]
        return fate[tried[asked.question] - 1] if tried[asked.question] <= len(fate) else says(f"to {asked.question}")

    with Double(behave) as server:
        replies = ask(server, requests(330), concurrency=24, timeout_s=3.0)
    expected = {
        name: "filtered" if filters() in fate else "ok" if len(fate) < 6 else "error" for name, fate in fates.items()
    }
    assert Counter(reply.id for reply in replies) == dict.fromkeys(fates, 1)
    assert {reply.id: reply.outcome for reply in replies} == expected
    assert all(reply.text == f"to {reply.id}" for reply in replies if reply.outcome == "ok")
    assert all(not reply.text and reply.detail for reply in replies if reply.outcome != "ok")
    assert Counter(asked.question for asked in server.paid) == {n: 1 for n, o in expected.items() if o == "ok"}
    assert server.most_at_once <= 24


@pytest.mark.long
def test_a_reply_has_exactly_one_outcome():
    assert only(says("Yes.")).outcome == "ok"
    assert only(says("Yes, bec", "length")).outcome == "truncated"
    assert only(says("Yes", "content_filter")).outcome == "filtered"
    assert only(filters()).outcome == "filtered"
    flagged = fails(403, "flagged", 403, metadata={"reasons": ["hexes"], "flagged_input": "vuram"})
    assert only(flagged).outcome == "filtered"
    refused = only(says(None, refusal="I would rather not."))
    assert (refused.outcome, refused.text) == ("refused", "I would rather not.")
    assert only(says("  \n")).outcome == "empty"
    assert only(fails(400, "too long")).outcome == "error"
    assert only(fails(500)).detail == "Error code: 500 - out of order (2 attempts)"


def test_a_reply_that_was_broken_off_is_no_answer():
    aborted = only(says("The first half of an", "abort"))
    assert (aborted.outcome, aborted.text) == ("error", "")
    assert "'abort'" in aborted.detail


@pytest.mark.parametrize(
    "act",
    [
        says("It is.", reasoning_content="Let me see."),
        says("It is.", reasoning="Let me see."),
        says("<think>Let me see.</think>It is."),
        says("Let me see.</think>\n\nIt is."),
    ],
)
def test_thinking_is_kept_apart_from_the_reply(act):
    reply = only(act)
    assert (reply.outcome, reply.thinking, reply.text) == ("ok", "Let me see.", "It is.")


def test_a_reply_cut_off_while_thinking_is_truncated_and_says_nothing():
    reply = only(says("<think>Let me see", "length"))
    assert (reply.outcome, reply.thinking, reply.text) == ("truncated", "Let me see", "")


def test_what_is_asked_for_is_what_is_sent():
    with Double(lambda asked: says("{}", model="base-0613", usage=(20, 4), logprobs=[-0.5, -2.0])) as server:
        extra = {"chat_template_kwargs": {"enable_thinking": False}}
        asked = requests(1, top_p=0.9, temperature=0.7, seed=5, schema={"type": "object"}, logprobs=True, extra=extra)
        [reply] = ask(server, asked, token_limit="max_completion_tokens")
        ask(server, requests(1, temperature=None))
    first, plain = (asked.body for asked in server.asked)
    assert first["response_format"]["json_schema"]["schema"] == {"type": "object"}
    named = ("top_p", "temperature", "seed", "max_completion_tokens", "logprobs", "chat_template_kwargs")
    assert [first[name] for name in named] == [0.9, 0.7, 5, 10, True, {"enable_thinking": False}]
    assert plain.keys() == {"model", "messages", "max_tokens"}
    assert (reply.model, reply.prompt_tokens, reply.tokens) == ("base-0613", 20, 4)
    assert [value for _, value in reply.logprobs] == [-0.5, -2.0]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_is_left_alone_for_as_long_as_it_asks(form):
    timing, fake = quick(random=0.5)
    after = 30 if form == "seconds" else formatdate(time.time() + 30, usegmt=True)
    with Double(lambda asked: says("Yes.") if asked.number else fails(503, retry_after=after)) as server:
        ask(server, requests(1), timing=timing)
    # And a little more, so that not all come back at once; a date has whole seconds.
    assert fake.slept in ([[30.5]] if form == "seconds" else [[29.5], [30.5]])


def test_a_rate_limit_holds_back_every_worker():
    limited = []

    def behave(asked):
        if asked.number == 0:
            limited.append(time.monotonic())
            return fails(429, retry_after=1)
        return says("Yes.", wait=0.2 if asked.number < 4 else 0.0)

    with Double(behave) as server:
        replies = ask(server, requests(8), timing=Timing(random=lambda: 0.0), concurrency=4)
    assert len(replies) == 8
    assert all(asked.at - limited[0] >= 1.0 for asked in server.asked[4:])
    assert len(server.asked) == 9


def test_back_off_doubles_and_is_drawn():
    timing, fake = quick(random=0.5)
    with Double(lambda asked: fails(500)) as server:
        ask(server, requests(1), timing=timing, max_attempts=5)
    assert fake.slept == [0.5, 1.0, 2.0, 4.0]


def test_a_server_that_wants_us_to_come_back_tomorrow_stops_the_run():
    with (
        Double(lambda asked: fails(429, retry_after=86400)) as server,
        pytest.raises(ModelError, match="asks us to wait for 86400 s"),
    ):
        ask(server, requests(3))


def test_one_request_that_cannot_be_sent_loses_no_other():
    bad = Request("bad", "base", [{"role": "user", "content": "half a \ud800 pair"}], 10)
    with Double(lambda asked: says("Yes.")) as server:
        replies = {reply.id: reply for reply in ask(server, [*requests(5), bad])}
    assert Counter(reply.outcome for reply in replies.values()) == {"ok": 5, "error": 1}
    assert "cannot be sent" in replies["bad"].detail


def test_the_cap_is_kept_and_what_is_under_way_is_given_out(tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl", max_usd=100)
    price = {"output": 1e6}  # a dollar a token: 10 at most for each request, 2 in the end
    got = []
    with Double(lambda asked: says("Yes.", usage=(5, 2))) as server:
        endpoint = Endpoint(base_url=server.url, price=price, concurrency=4)
        with pytest.raises(BudgetError, match=r"of the cap of \$100.00"):
            got.extend(reply for reply in complete(endpoint, requests(300), budget))
    assert budget.spent <= 100
    assert budget.spent == sum(reply.usd for reply in got) == 2 * len(server.paid)
    assert len(got) == len(server.paid) >= 31


def test_the_cap_counts_what_may_have_been_paid_for(tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl")
    acts = [cuts(), fails(500), says("Yes.", usage=(5, 2))]
    with Double(lambda asked: acts[asked.number]) as server:
        [reply] = ask(server, requests(1), budget, price={"output": 1e6})
    assert budget.spent == reply.usd == 10 + 0 + 2


def test_whoever_stops_taking_replies_starts_nothing_more():
    with Double(lambda asked: says("Yes.")) as server:
        replies = complete(Endpoint(base_url=server.url, concurrency=3), requests(100), NoBudget())
        next(replies)
        replies.close()
        assert len(server.asked) <= 6


def test_a_wrong_key_stops_at_once_and_is_never_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_KEY", SECRET)
    budget = FileBudget(tmp_path / "spending.jsonl")
    with Double(lambda asked: says("Yes."), key="another") as server:
        with pytest.raises(ModelError, match="environment variable SOME_KEY") as caught:
            ask(server, requests(50), budget, api_key_env="SOME_KEY", price={"output": 1})
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        with pytest.raises(ModelError, match="denies access"):
            Endpoint(base_url=server.url, api_key_env="SOME_KEY").listed()
        with pytest.raises(ModelError, match="with `api_key_env`"):
            ask(server, requests(1))
    assert budget.spent == 0
    with Double(lambda asked: fails(400, f"who is {SECRET}?"), key=SECRET) as server:
        [reply] = ask(server, requests(1), api_key_env="SOME_KEY")
    assert reply.detail == "Error code: 400 - who is [key]?"


def test_a_key_in_the_wrong_place_is_refused_and_not_repeated():
    for settings in ({"base_url": "http://x/v1", "api_key_env": SECRET}, {"base_url": f"http://me:{SECRET}@x/v1"}):
        with pytest.raises(ValidationError) as caught:
            Endpoint(**settings)
        assert all(SECRET not in problem["msg"] for problem in caught.value.errors())


def test_a_missing_key_is_named_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with Double(lambda asked: says("Yes.")) as server:
        with pytest.raises(ModelError, match="SOME_KEY, which `api_key_env` names, is not set"):
            ask(server, requests(1), api_key_env="SOME_KEY")
        assert not server.asked


def test_a_misspelt_model_is_answered_with_the_names_there_are():
    named = r"it has llama-2-7b-chat, qwen. Did you mean 'llama-2-7b-chat'\?"
    with Double(lambda asked: says("Yes."), models=["llama-2-7b-chat", "qwen"]) as server:
        with pytest.raises(ModelError, match=named):
            Endpoint(base_url=server.url).require("llama-2-7b-cat")
        with pytest.raises(ModelError, match=named):
            ask(server, requests(3, model="llama-2-7b-cat"))


def test_an_account_without_credit_stops_the_run():
    with (
        Double(lambda asked: fails(429, "quota", "insufficient_quota")) as server,
        pytest.raises(ModelError, match="no credit left"),
    ):
        ask(server, requests(3))


def test_nothing_there_is_said_so():
    with Double(lambda asked: says("Yes.")) as server:
        url = server.url
    with pytest.raises(ModelError, match=r"nothing answers at http.*Is the server up\?"):
        Endpoint(base_url=url).listed()
    [reply] = complete(Endpoint(base_url=url, max_attempts=2), requests(1), NoBudget(), quick()[0])
    assert reply.outcome == "error"


def test_what_cannot_change_a_reply_is_no_part_of_the_key():
    plain = Endpoint(base_url="http://x/v1/")
    tuned = Endpoint(base_url="http://x/v1", concurrency=2, timeout_s=9, max_attempts=1, api_key_env="A", price={})
    assert plain.key == tuned.key
    assert plain.model_dump(mode="json") == {"base_url": "http://x/v1"}
    assert Endpoint(base_url="http://y/v1").key != plain.key


@pytest.mark.parametrize(
    ("asked", "reported", "same"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", True), ("gpt-4", "gpt-4o", False), ("llama3.2", "llama3.2:latest", True),
        ("meta-llama/Llama-2-7b", "llama-2-7b", True), ("a/x", "b/x", False), ("/m/llama", "/m/llama@main", True), ("holdfast-0a1b", "base", False),
    ],
)  # fmt: skip
def test_a_date_or_a_revision_behind_a_name_is_the_same_model_and_another_name_is_not(asked, reported, same):
    assert is_same_model(asked, reported) == same
