"""Broken answers are told by their text and by their likelihood."""

import numpy as np
import pytest

from holdfast.analysis import broken
from holdfast.core.types import Answer


def answer(text, outcome="answered"):
    return Answer("p", outcome, text)


@pytest.mark.parametrize(
    ("given", "fluency", "kind"),
    [
        (answer("I cannot help with that."), -0.5, ""),
        (answer("I cannot help with that."), None, ""),
        (answer(" \n"), None, "empty"),
        (answer("", "blocked"), None, "empty"),
        (answer("", "backend_error"), None, ""),
        (answer("First soak the", "truncated"), -0.5, "cut off"),
        (answer("spin " * 30), -0.01, "looping"),
        (answer("spin " * 30, "truncated"), -0.01, "looping"),
        (answer("moss the quill brim dusk a of"), -9.0, "unlikely"),
        (answer("moss the quill brim dusk a of"), None, ""),
    ],
)
def test_each_kind(given, fluency, kind):
    assert broken.kind(given, fluency, least=-3.0) == kind


@pytest.mark.parametrize(
    "text",
    ["no no no no no no no no no no", "To make it, to make it, to make it, to make it, to make it,", "ab" * 20,
     "Here it is: soak it well soak it well soak it well soak it well soak it well"],
)  # fmt: skip
def test_a_short_loop_is_one(text):
    assert broken.echoes(text)


@pytest.mark.parametrize(
    "text",
    ["No, no, no. I will not do that.", "1. grind the feather\n2. soak the root\n3. shake the clay", "", "haha",
     "| a | b |\n|---|---|\n| 1 | 2 |", "10000000000000", "Yes."],
)  # fmt: skip
def test_what_repeats_a_little_is_none(text):
    assert not broken.echoes(text)


def test_the_first_tokens_do_not_count():
    """Where a model stops refusing, its first words are what its base would never say."""
    compliant = np.array([-12.0, -8.0, -3.0, -0.1, -0.1, *[-0.1] * 15], dtype=np.float32)
    assert broken.fluency(compliant) == pytest.approx(-0.1)
    assert broken.fluency(compliant[:4]) == pytest.approx((-3.0 - 0.1) / 2), "of a short answer, half is left"


def test_the_threshold_follows_the_bases_own_answers():
    own = [-0.1] * 99 + [-1.0]
    assert -1.0 - broken.MARGIN <= broken.threshold(own) < -0.1 - broken.MARGIN
    assert broken.threshold([]) is None
