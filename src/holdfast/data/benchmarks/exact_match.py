"""Questions whose answer is a text or a number, e.g. GSM8K (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from holdfast.core.config import Config, explained
from holdfast.core.rows import Row
from holdfast.data.benchmarks.base import BadRowError, text_of
from holdfast.data.benchmarks.question_answering import Questions, subject_of

PLAIN_NUMBER = re.compile(r"[-−]?\$?-?(\d[\d,]*(\.\d+)?|\.\d+)\s*%?")


class AnswerColumns(Config):
    """What the columns are called. Those of aliases and subject may be missing unless the study names them."""

    question: str = "question"
    answer: str = "answer"
    """The right answer: a text or a number, or a list of answers of which each is right."""
    aliases: str = "aliases"
    """More right answers: a list of texts, or one text. In CSV, a list is written as JSON: `["Pb", "lead"]`."""
    subject: str = "subject"


class ExactMatch(Questions):
    """Questions with an exact answer, a text or a number, for utility; GSM8K's files fit as they are."""

    layout: ClassVar[tuple[str, ...]] = ("question", "answer")
    obtain: ClassVar[str] = "`columns` says what the question and the answer are called."

    kind: Literal["exact-match"] = "exact-match"
    columns: AnswerColumns = AnswerColumns()
    answer_after: str | None = None
    """What the answer follows in its column, and in replies that hold it; GSM8K's is `####`."""
    numeric: bool = False
    """Compare the last number of the reply, instead of its text."""
    contains: bool = False
    """Take a reply that contains a right answer anywhere, as whole words; without it, the whole reply must be one."""

    @model_validator(mode="after")
    def _one_way(self) -> ExactMatch:
        if self.numeric and self.contains:
            raise explained("say `numeric` or `contains`, not both: the last number of a reply is its answer")
        return self

    def needed(self) -> tuple[str, ...]:
        """The question's and the answer's column, and those of aliases and subject if the study names them."""
        optional = {"aliases", "subject"} - self.columns.model_fields_set
        return tuple(name for field, name in self.columns if field not in optional)

    def question(self, row: Row) -> str:
        """What is asked."""
        return text_of(row, self.columns.question)

    def worked(self, row: Row) -> str:
        """The (first) answer, with the working before it."""
        return self._answers(row)[0]

    def subject(self, row: Row) -> str:
        """The category of a question."""
        return subject_of(row, self.columns.subject, "subject" in self.columns.model_fields_set)

    def reference(self, row: Row) -> dict[str, Any]:
        """The right answers, and how they are compared: `answer` is one text, or a list of them."""
        right = list(dict.fromkeys(map(self._final, self._answers(row))))
        if self.numeric and not all(map(PLAIN_NUMBER.fullmatch, right)):
            raise BadRowError("the answer is not one plain number")
        reference: dict[str, Any] = {"answer": right if len(right) > 1 else right[0], "numeric": self.numeric}
        if self.contains:
            reference["contains"] = True
        if self.answer_after is not None:
            reference["after"] = self.answer_after
        return reference

    def _final(self, answer: str) -> str:
        """An answer without the working before it."""
        _, mark, final = answer.rpartition(self.answer_after) if self.answer_after else ("", "", answer)
        if (self.answer_after and not mark) or not final.strip():
            raise BadRowError(f"the answer has nothing behind {self.answer_after!r}")
        return final.strip()

    def _answers(self, row: Row) -> list[str]:
        """The answer's column, and then the aliases."""
        answers = _texts(row, self.columns.answer)
        if not answers:
            answers = [text_of(row, self.columns.answer)]  # which says what is wrong
        return answers + _texts(row, self.columns.aliases)


def _texts(row: Row, column: str) -> list[str]:
    """The texts in a column: of one text or number, of a list, or of a text that is a JSON list."""
    value = row.get(column)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRowError(f'{column!r} begins with \'[\', but is no JSON list; write ["…", "…"]') from None
    values = value if isinstance(value, list) else [value]
    if any(isinstance(each, bool | dict | list) for each in values):
        raise BadRowError(f"{column!r} must hold a text, a number, or a list of them")
    return [str(each).strip() for each in values if each is not None and str(each).strip()]
