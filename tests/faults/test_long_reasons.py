"""What a server says beside an answer is cut at a stated length before it is kept; answers are not."""

import json
from dataclasses import asdict

import pytest
from support.endpoint_double import Act, Double, fails, says

from holdfast.core.budget import NoBudget
from holdfast.core.types import LONGEST_NAME, LONGEST_REASON, Answer, Message, Prompt, Verdict, cut
from holdfast.judges import cache as verdict_cache
from holdfast.judges.exact_match import Match
from holdfast.judges.policy import Policy
from holdfast.models.generate.base import answer_of
from holdfast.models.samplers.base import Question
from holdfast.models.samplers.server import Server

LONG = 5_000_000
PROMPTS = [(Prompt("c", f"q{i}"), Answer(f"a{i}", "answered", f"text {i}")) for i in range(3)]


def judged(server, **settings):
    judge = Policy(
        by={"kind": "server", "base_url": server.url, "model": "base", "max_attempts": 1}, canaries=None, **settings
    )
    pairs = [(prompt, Answer(prompt.id, "answered", answer.text)) for prompt, answer in PROMPTS]
    return [v for some in verdict_cache.verdicts(judge, {"c": "a policy"}, pairs, NoBudget()) for v in some]


def verdict(asked):
    code = asked.body["messages"][-1]["content"].partition("The code of this case is ")[2].partition(".")[0]
    return says(json.dumps({"reason": "x" * LONG, "code": code, "score": 4}), model="base@" + "m" * LONG)


@pytest.mark.long
@pytest.mark.parametrize(
    "act", [verdict, lambda _: says("y" * LONG), lambda _: says("", refusal="z" * LONG), lambda _: fails(400, "e" * LONG)],
    ids=["verdict", "malformed", "refused", "error"],
)  # fmt: skip
def test_a_long_reason_does_not_fill_the_disk(act, cache):
    with Double(act) as server:
        verdicts = judged(server, tries=1)
    assert len(verdicts) == 3
    assert all(len(json.dumps(asdict(each))) < LONGEST_REASON + LONGEST_NAME + 1000 for each in verdicts)
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) < 20_000


def test_a_cut_reason_says_so_and_keeps_its_score():
    with Double(verdict) as server:
        first = judged(server)[0]
    assert first.score == 4 and len(first.reason) == LONGEST_REASON
    assert first.reason.endswith("… (cut: 5,000,000 characters in all)")
    assert first.model.endswith("… (cut: 5,000,005 characters in all)")


def test_details_are_cut_and_answers_are_not():
    settings = {"kind": "server", "model": "base", "max_attempts": 1}
    acts = [
        says("a" * LONG),
        says("b", finish="f" * LONG),
        Act(400, b"x" * LONG),
        says("c", finish="stop", model="base@" + "m" * LONG),
    ]
    with Double(lambda asked: acts[int(asked.question)]) as server:
        questions = [Question(str(i), (Message("user", str(i)),)) for i in range(4)]
        replies = {reply.id: reply for reply in Server(base_url=server.url, **settings).ask(questions, NoBudget())}
    assert len(answer_of(replies["0"]).text) == LONG
    assert all(len(answer_of(reply).detail) <= LONGEST_REASON for reply in replies.values())
    assert all(len(reply.detail) <= LONGEST_REASON and len(reply.model) <= LONGEST_NAME for reply in replies.values())


def test_a_judge_that_repeats_the_answer_is_cut_too():
    prompt = Prompt("c", "q", {"answer": "moss"})
    assert len(Match().read(prompt, Answer("x", "answered", "m" * LONG)).reason) == LONGEST_REASON


@pytest.mark.parametrize("n", [0, 1999, 2000, 2001, 10**6])
def test_cutting_twice_changes_nothing(n):
    once = cut("é" * n, LONGEST_REASON)
    assert cut(once, LONGEST_REASON) == once and len(once) == min(n, LONGEST_REASON)
    assert Verdict("x", "unparsed", None, once).reason == once
