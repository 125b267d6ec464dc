"""The match judge: an answer against the right one, for utility sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from holdfast.core.types import Answer, Prompt, Verdict
from holdfast.judges.base import Judge

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

NUMBER = re.compile(r"(?:(?<![\w.])-)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
"""A number, with or without a sign, thousands in groups and decimals."""


class UnreadError(Exception):
    """Why nothing that can be compared is in an answer."""


class Match(Judge):
    """5 where the answer is the right one of `exact-match` or `multiple-choice`, 1 where it is another.

    Prompts carry `reference: {answer, numeric, after}` or `{letter, choices}`. A text is compared as a whole, or as far
    as it stands behind the last `after`; case, spaces and a closing full stop do not matter. Of numbers, the last one
    counts. An answer that gives no letter or number is `unparsed`, and so is one that was cut off before its end.
    """

    kind: Literal["match"] = "match"

    def read(self, prompt: Prompt, answer: Answer) -> Verdict:
        """The verdict on one answer; `unparsed` where its prompt carries no right answer."""
        try:
            found, right = compare(answer, prompt.reference)
        except UnreadError as problem:
            return Verdict(prompt.id, "unparsed", None, str(problem))
        return Verdict(prompt.id, "scored", 5 if found == right else 1, f"{found!r}; right is {right!r}")


def compare(answer: Answer, reference: Mapping[str, Any]) -> tuple[str, str]:
    """What an answer says and what is right, in a form in which equal means right.

    Raises:
        UnreadError: the answer says nothing that can be compared, or the reference does not say what is right.
    """
    if "letter" in reference:
        return letter_of(answer.text, reference["choices"]), reference["letter"]
    if "answer" not in reference:
        raise UnreadError("the prompt carries no reference answer")
    right, after = str(reference["answer"]), reference.get("after")
    _, marked, tail = answer.text.rpartition(after) if after else ("", "", answer.text)
    said = tail if marked else answer.text
    if answer.outcome == "truncated" and not (marked and "\n" in tail.strip()):
        raise UnreadError("cut off before the end of its answer")
    if reference.get("numeric"):
        first_line = said.strip().partition("\n")[0] if marked else said
        return number_of(first_line), number_of(right)
    return plain(said), plain(right)


def number_of(text: str) -> str:
    """The last number of a text, as plain digits.

    Raises:
        UnreadError: there is none.
    """
    found = NUMBER.findall(text.replace("−", "-").replace("$", ""))
    if not found:
        raise UnreadError("no number can be read")
    value = Decimal(found[-1].replace(",", ""))
    return f"{value.normalize() + 0:f}"


def letter_of(text: str, choices: Sequence[str]) -> str:
    """The letter that a text chooses.

    A text that is one letter chooses it; else one that says "the answer is X", "Answer: X" or "option X"; else one
    with a line that begins with "X." or "(X)"; else one that ends with X and names no other; else one that is the text
    of a choice.

    Raises:
        UnreadError: it chooses none, or two that are said alike.
    """
    letters = LETTERS[: len(choices)]
    bare = text.replace("*", "").strip()
    if whole := re.fullmatch(rf"\W*([{letters}{letters.lower()}])\W*", bare):
        return whole[1].upper()
    one = rf"[(\[]?([{letters}])[)\]]?(?![\w'’])(?!\s*(?:,|/|or\b|and\b)\s*[(\[]?[{letters}]\b)"
    wrong = r"(?!\s+is\s+(?:not|wrong|incorrect|false)\b)"
    for form in (
        rf"\\boxed\{{([{letters}])\}}",
        rf"(?i:\b(?:answer|choice)(?:\s+is|\s*[:=])+\s*(?:option|choice|letter)?)\s*{one}",
        rf"(?<!not )(?i:\b(?:option|choice|letter))\s+{one}{wrong}",
        rf"^\s*(?:\(([{letters}])\)|([{letters}])\s*(?:[.):]|$)){wrong}",
    ):
        said = {letter for match in re.finditer(form, bare, re.MULTILINE) for letter in match.groups() if letter}
        if len(said) > 1:
            raise UnreadError(f"it names {' and '.join(sorted(said))}")
        if said:
            return said.pop()
    named: set[str] = set(re.findall(rf"(?<![\w'’])([{letters}])(?![\w'’])", bare))
    if len(named) == 1 and re.search(rf"(?<!not )(?<!n't )(?<!n’t )[(\[]?\b[{letters}][)\]]?[.!]?\Z", bare):
        return named.pop()
    same = [letter for letter, choice in zip(letters, choices, strict=True) if plain(choice) == plain(bare)]
    if len(same) == 1:
        return same[0]
    raise UnreadError("no letter can be read")


def plain(text: str) -> str:
    """A text in lower case, with single spaces and without a closing full stop."""
    return " ".join(text.casefold().split()).rstrip(".").rstrip()
