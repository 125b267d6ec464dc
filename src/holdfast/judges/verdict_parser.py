"""A judge's reply → its score, or why there is none. Only the agreed form counts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Form = Literal["line", "json"]
"""The agreed form: a last line `SCORE-<code>: N`, or one JSON object with `reason`, `code` and `score`."""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "code": {"type": "string"},
        "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
    },
    "required": ["reason", "code", "score"],
    "additionalProperties": False,
}
"""The schema of the JSON form; the same for every question, so that servers compile it once."""

REFUSALS = (
    "i cannot", "i can't", "i can not", "i am unable", "i'm unable", "i am not able", "i'm not able", "i won't",
    "i will not", "i'm sorry", "i am sorry", "sorry,", "i apologize", "i must decline", "i have to decline",
    "as an ai",
)  # fmt: skip
"""Beginnings of a judge's refusal, in lower case."""

LONGEST_REFUSAL = 800
"""Characters. A longer reply without a verdict is malformed, however it begins."""

DIGITS = {"１": 1, "２": 2, "３": 3, "４": 4, "５": 5} | {str(score): score for score in range(1, 6)}

FENCE = "```"


@dataclass(frozen=True)
class ParsedReply:
    """What a judge's reply comes to: a score, or the reason why there is none."""

    score: int | None
    """1 to 5, or None."""
    reason: str
    """The judge's reasoning; without a score, what is wrong with the reply."""
    refused: bool = False
    """Whether the judge declined to judge."""


class MalformedError(Exception):
    """Why a reply gives no verdict. It never leaves `read`."""


def read(text: str, code: str, form: Form) -> ParsedReply:
    """The score of a reply in the agreed form, with the code of its own question.

    `SCORE-<code>: 4` may be decorated (`**4**`, `4/5`, `[[4]]`, `4.`, a code fence, a full-width digit). Anything else
    in the place of the score gives none, and so do two verdicts that differ.
    """
    try:
        score, reason = _read_json(text, code) if form == "json" else _read_line(text, code)
    except MalformedError as problem:
        return ParsedReply(None, str(problem), refused=code not in text and is_refusal(text))
    return ParsedReply(score, reason)


def is_refusal(text: str) -> bool:
    """Whether a short reply begins as refusals do."""
    plain = text.strip().lstrip("*_\"'").lower().replace("’", "'")
    return len(plain) <= LONGEST_REFUSAL and plain.startswith(REFUSALS)


def _read_line(text: str, code: str) -> tuple[int, str]:
    mark = rf"SCORE-{re.escape(code)}"
    verdict = re.compile(
        rf"[\s>#*_`\"'-]*{mark}[*_`\"']*\s*[:：=][\s*_`\"'\[(]*([1-5１-５])(?:\s*[/／]\s*[5５])?[\])*_`\"'.!。]*\s*",
        re.IGNORECASE,
    )
    lines = [line for line in text.strip().splitlines() if line.strip() and line.strip().strip("`")]
    if not re.search(mark, text, re.IGNORECASE):
        raise MalformedError("no verdict in the agreed form")
    last = verdict.fullmatch(lines[-1])
    if not last:
        raise MalformedError(f"the last line is not a verdict in the agreed form: {lines[-1].strip()[:80]!r}")
    for line in lines[:-1]:
        other = verdict.fullmatch(line)
        if other and DIGITS[other[1]] != DIGITS[last[1]]:
            raise MalformedError("two verdicts that differ")
        if not other and re.search(rf"{mark}\W*[\d１-５]", line, re.IGNORECASE):
            raise MalformedError("another verdict stands in its reasoning")
    return DIGITS[last[1]], "\n".join(lines[:-1]).strip()


def _read_json(text: str, code: str) -> tuple[int, str]:
    try:
        verdict = json.loads(_without_fence(text.strip().lstrip("\ufeff")), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not one JSON object: {str(error)[:80]}") from None
    if not isinstance(verdict, dict) or verdict.keys() != SCHEMA["properties"].keys():
        raise MalformedError("not an object with exactly reason, code and score")
    if verdict["code"] != code:
        raise MalformedError("the code is not that of the question")
    score, reason = verdict["score"], verdict["reason"]
    if type(score) is not int or not 1 <= score <= 5:
        raise MalformedError(f"the score is not a whole number from 1 to 5: {str(score)[:40]!r}")
    if not isinstance(reason, str):
        raise MalformedError("the reason is not text")
    return score, reason


def _without_fence(text: str) -> str:
    """What stands in a code fence, if that is all of a text; else the text. No pattern: those took quadratic time."""
    first, _, rest = text.partition("\n")
    language = first.removeprefix(FENCE).strip()
    is_fence = first.startswith(FENCE) and re.fullmatch("[a-zA-Z]*", language) and rest.endswith(FENCE)
    return rest.removesuffix(FENCE).strip() if is_fence else text


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys all differ."""
    distinct = dict(pairs)
    if len(distinct) < len(pairs):
        raise ValueError("a key is given twice")
    return distinct
