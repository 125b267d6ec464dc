"""The match judge: an answer against the right ones, for utility sets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any, Literal

from holdfast.core.types import Answer, Prompt, Verdict
from holdfast.judges.base import Judge

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

NUMBER = re.compile(r"(?:(?<![\w.])-)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
"""A number, with or without a sign, thousands in groups and decimals."""

ACCENTS = re.compile("[\u0300-\u036f]")
"""Accents of Latin, Greek and Cyrillic letters, once they are taken apart."""

MOST_MARKS = 30
"""Marks on one letter that are compared; no writing has more (Unicode Standard Annex 15, section 13)."""
UNUSUAL = re.compile(rf"[^\w\s\x00-\x7f]{{{MOST_MARKS + 1},}}")
"""Where there can be more."""

ANY_SIZE = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Numbers of any length, and not rounded."""

OPENING, CLOSING = " \"'“”‘’«»([{*_`", " \"'“”‘’«»)]}*_`.,;:!?"
"""What may stand before and behind an answer without being part of it."""


class UnreadError(Exception):
    """Why nothing that can be compared is in an answer."""


class Match(Judge):
    """5 where the answer is a right one of `exact-match` or `multiple-choice`, 1 where it is another.

    Prompts carry `reference: {letter, choices}`, or `{answer, numeric, contains, after}`, where `answer` is one text or
    a list of which each is right. A text is compared as a whole, or as far as it stands behind the last `after`; with
    `contains` it is right if a right answer stands in it as whole words. Case, accents and spaces do not matter, nor do
    quotation marks, brackets and punctuation at the ends. Of numbers, the last one counts. An answer that gives no
    letter or number is `unparsed`, and so is one that was cut off before its end.
    """

    kind: Literal["match"] = "match"

    def read(self, prompt: Prompt, answer: Answer) -> Verdict:
        """The verdict on one answer; `unparsed` where its prompt carries no right answer."""
        try:
            given, right = compare(answer, prompt.reference)
        except UnreadError as problem:
            return Verdict(prompt.id, "unparsed", None, str(problem))
        listed = " or ".join(map(repr, right))
        return Verdict(prompt.id, "scored", 5 if given in right else 1, f"{given!r}; right is {listed}")


def compare(answer: Answer, reference: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What an answer gives and all that is right, in a form in which equal means right.

    Raises:
        UnreadError: the answer gives nothing that can be compared, or the reference does not say what is right.
    """
    if "letter" in reference:
        return letter_of(answer.text, reference["choices"]), [reference["letter"]]
    if "answer" not in reference:
        raise UnreadError("the prompt carries no reference answer")
    right = [str(text) for text in _listed(reference["answer"])]
    after = reference.get("after")
    _, mark, behind = answer.text.rpartition(after) if after else ("", "", answer.text)
    reply = behind if mark else answer.text
    if reference.get("contains"):
        stated = [plain(text) for text in right if contains(reply, text)]
        if stated:
            return stated[0], stated
    if answer.outcome == "truncated" and not (mark and "\n" in behind.strip()):
        raise UnreadError("cut off before the end of its answer")
    if reference.get("numeric"):
        first_line = reply.strip().partition("\n")[0] if mark else reply
        return number_of(first_line), [number_of(text) for text in right]
    return plain(reply), [plain(text) for text in right]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def number_of(text: str) -> str:
    """The last number of a text, as plain digits.

    Raises:
        UnreadError: there is none.
    """
    numbers = NUMBER.findall(text.replace("−", "-").replace("$", ""))
    if not numbers:
        raise UnreadError("no number can be read")
    value = Decimal(numbers[-1].replace(",", ""))
    return f"{ANY_SIZE.plus(value.normalize(ANY_SIZE)):f}"  # plus: there is only one zero


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
    for form in _letter_forms(letters):
        named = {letter for match in form.finditer(bare) for letter in match.groups()} - {None}
        if len(named) > 1:
            raise UnreadError(f"it names {' and '.join(sorted(named))}")
        if named:
            return named.pop()
    named = set(re.findall(rf"(?<![\w'’])([{letters}])(?![\w'’])", bare))
    if len(named) == 1 and re.search(rf"(?<!not )(?<!n't )(?<!n’t )[(\[]?\b[{letters}][)\]]?[.!]?\Z", bare):
        return named.pop()
    same = [letter for letter, choice in zip(letters, choices, strict=True) if plain(choice) == plain(bare)]
    if len(same) == 1:
        return same[0]
    raise UnreadError("no letter can be read")


def _letter_forms(letters: str) -> list[re.Pattern[str]]:
    """The ways to say which letter is chosen, the plainest first; each group is a letter."""
    one = rf"[(\[]?([{letters}])[)\]]?(?![\w'’])(?!\s*(?:,|/|or\b|and\b)\s*[(\[]?[{letters}]\b)"
    wrong = r"(?!\s+is\s+(?:not|wrong|incorrect|false)\b)"
    forms = (
        rf"\\boxed\{{([{letters}])\}}",
        rf"(?i:\b(?:answer|choice)(?:\s+is|\s*[:=])+\s*(?:(?:option|choice|letter)\s*)?){one}",
        rf"(?<!not )(?i:\b(?:option|choice|letter))\s+{one}{wrong}",
        rf"^[^\S\n]*(?:\(([{letters}])\)|([{letters}])\s*(?:[.):]|$)){wrong}",
    )
    return [re.compile(form, re.MULTILINE) for form in forms]


def contains(reply: str, answer: str) -> bool:
    """Whether a reply contains an answer as whole words.

    `Pb` is in "The symbol is Pb.", and not in "Pbx"; `5` is not in "3.5", "5,000" or "-5". In scripts without spaces
    between words (Chinese, Japanese), any place counts.
    """
    wanted = plain(answer)
    if not wanted:
        return False
    before = "" if _without_spaces(wanted[0]) else r"(?<!\w)"
    behind = "" if _without_spaces(wanted[-1]) else r"(?!\w)"
    if wanted[0].isdigit():
        before += r"(?<!\d[.,])(?<!(?<!\w)[-−])"
    if wanted[-1].isdigit():
        behind += r"(?![.,]\d)"
    return re.search(before + re.escape(wanted) + behind, _folded(reply)) is not None


def _without_spaces(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in ("W", "F")


def plain(text: str) -> str:
    """A text in the form in which it is compared: case, accents, spaces and what encloses it do not matter."""
    folded = _folded(text)
    return folded.lstrip(OPENING).rstrip(CLOSING) or folded


def _folded(text: str) -> str:
    """A text in lower case, with single spaces and without accents."""
    if text.isascii():
        return " ".join(text.lower().split())
    # Letter by letter, and with few marks on each: marks are put into order in quadratic time.
    letters = "".join(unicodedata.normalize("NFKD", letter) for letter in text.casefold())
    letters = UNUSUAL.sub(_with_few_marks, ACCENTS.sub("", letters))
    return unicodedata.normalize("NFC", " ".join(letters.split()))


def _with_few_marks(run: re.Match[str]) -> str:
    """Characters of which some are marks, at most `MOST_MARKS` of them in a row."""
    kept, n_marks = [], 0
    for char in run[0]:
        n_marks = n_marks + 1 if unicodedata.combining(char) else 0
        if n_marks <= MOST_MARKS:
            kept.append(char)
    return "".join(kept)
