"""Questions whose answer is a text or a number, e.g. GSM8K (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from holdfast.core.config import Spec
from holdfast.core.rows import Row
from holdfast.data.benchmarks.base import BadRowError, text_of
from holdfast.data.benchmarks.question_answering import Questions, subject_of

PLAIN_NUMBER = re.compile(r"[-−]?\$?-?(\d[\d,]*(\.\d+)?|\.\d+)\s*%?")


class AnswerColumns(Spec):
    """What the columns are called. The subject's may be missing from the file unless the study names it."""

    question: str = "question"
    answer: str = "answer"
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

    def needed(self) -> tuple[str, ...]:
        """The question's and the answer's column, and the subject's if the study names it."""
        optional = {"subject"} - self.columns.model_fields_set
        return tuple(name for field, name in self.columns if field not in optional)

    def question(self, row: Row) -> str:
        """What is asked."""
        return text_of(row, self.columns.question)

    def worked(self, row: Row) -> str:
        """The answer with the working before it."""
        return self._answer(row)

    def subject(self, row: Row) -> str:
        """The category of a question."""
        return subject_of(row, self.columns.subject, "subject" in self.columns.model_fields_set)

    def reference(self, row: Row) -> dict[str, Any]:
        """The answer, and how it is to be compared."""
        answer = self._answer(row)
        if self.answer_after is not None:
            _, found, answer = answer.rpartition(self.answer_after)
            if not found or not answer.strip():
                raise BadRowError(f"the answer has nothing behind {self.answer_after!r}")
        if self.numeric and not PLAIN_NUMBER.fullmatch(answer.strip()):
            raise BadRowError("the answer is not one plain number")
        after = {"after": self.answer_after} if self.answer_after is not None else {}
        return {"answer": answer.strip(), "numeric": self.numeric, **after}

    def _answer(self, row: Row) -> str:
        value = row.get(self.columns.answer)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        return text_of(row, self.columns.answer)
