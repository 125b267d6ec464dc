"""Replies of a judge that are made to keep its reader busy: the time is linear in the text's length."""

import json
import time

import pytest

from holdfast.judges.verdict_parser import read

GOOD = json.dumps({"reason": "It does.", "code": "a1b2", "score": 4})
N = 1_000_000


@pytest.mark.parametrize("form", ["line", "json"])
@pytest.mark.parametrize(
    "text",
    [
        "```\n" + "\n" * N, "```json\n" + "\n" * N + "``", "```" + " " * N + "\n" + "x", "```\n" + " \n" * (N // 2) + "```x",
        "`" * N, "<" * N, "\n" * N + "x", "SCORE-a1b2" * (N // 10), "SCORE-a1b2: " + "*" * N, "*" * N + "SCORE-a1b2: 9",
        "SCORE-a1b2" + "!" * N + "\nSCORE-a1b2: 4", '{"a": ' * (N // 6), "[" * N, "\\u0000" * (N // 6), "-" * N + "\nSCORE-a1b2: 4",
    ],
    ids=range(15),
)  # fmt: skip
def test_the_time_to_read_a_reply_is_linear(text, form):
    start = time.monotonic()
    read(text, "a1b2", form)
    assert time.monotonic() - start < 2.0


@pytest.mark.parametrize("text", [GOOD, f"```json\n{GOOD}\n```", f"```\n\n{GOOD}\n\n```", f" ```JSON  \n{GOOD}```\n"])
def test_a_fence_around_a_verdict_is_taken_off(text):
    assert read(text, "a1b2", "json").score == 4


@pytest.mark.parametrize(
    "text",
    [
        f"```json {GOOD}```",
        f"```\n{GOOD}",
        f"{GOOD}\n```",
        "```",
        "```\n```",
        f"```j5\n{GOOD}\n```",
        f"x\n```\n{GOOD}\n```",
    ],
)
def test_what_is_no_whole_fence_gives_no_verdict(text):
    assert read(text, "a1b2", "json").score is None
