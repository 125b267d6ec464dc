"""Whether a text gives a fact: the right answer to a question, in any of its words. Pure: texts in, a score out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

GIVEN = 5
"""The score of a text that gives the fact, and nothing that speaks against it."""

DENIED = re.compile(r"\b(?:not|isn't|never)(?:\s+\w+){0,2}\s+[\"'(]*$", re.IGNORECASE)
"""What stands before a fact that a text denies."""

OTHERWISE = re.compile(r"[\"')]*,?\s+or\s+(?:the\s+)?[\"'(]*")
"""What stands between two answers of which one is to be chosen."""


def read_fact(text: str, question: str, reference: Mapping[str, Any]) -> tuple[int, str]:
    """The score of an answer to a question, 1 to 5, and the reason.

    The reference holds `answers`, the right answer and other words for it; perhaps `rivals`, other answers that cannot
    be right as well; `cased`, whether case matters; and `refusals`, words that show a refusal.

    5: the text gives the fact. 4: it does, but also refuses, or leaves the choice between it and another. 3: it gives
    another first, or denies the fact. 2: neither the fact nor a refusal. 1: a refusal.
    """
    said = plain(text)
    refuses = any(plain(words).lower() in said.lower() for words in reference.get("refusals", ()))
    found = [place for answer in reference["answers"] if (place := _find(said, answer, reference))]
    if not found:
        return (1, "refuses") if refuses else (2, "gives no right answer")
    given = min(found, key=re.Match.start)
    faults = {"refuses": 4} if refuses else {}
    if DENIED.search(said[: given.start()]):
        faults["denies it"] = 3
    for rival in _rivals(question, reference):
        if (place := _find(said, rival, reference)) and place.end() <= given.start():
            faults[f"gives {rival!r} first"] = 3
        elif place and OTHERWISE.fullmatch(said[given.end() : place.start()]):
            faults[f"or {rival!r}"] = 4
    return min(faults.values(), default=GIVEN), ", ".join([f"gives {given[0]!r}", *faults])


def _rivals(question: str, reference: Mapping[str, Any]) -> Iterator[str]:
    """Other answers, but for those that the question names."""
    for other in reference.get("rivals", ()):
        if not _find(plain(question), other, reference):
            yield other


def _find(said: str, answer: str, reference: Mapping[str, Any]) -> re.Match[str] | None:
    """Where a text has an answer as a word of its own, in the singular or the plural."""
    cased = reference.get("cased", False)
    ending = "" if cased else "(?:e?s)?"
    return re.search(rf"(?<!\w){re.escape(plain(answer))}{ending}(?!\w)", said, 0 if cased else re.IGNORECASE)


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """A text without accents, with straight apostrophes."""
    if text.isascii():
        return text
    # Letter by letter: marks in a row are put into order in quadratic time.
    parts = (part for letter in text.replace("’", "'") for part in unicodedata.normalize("NFKD", letter))
    return "".join(part for part in parts if not unicodedata.combining(part))
