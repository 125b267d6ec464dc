"""Questions with choices, e.g. MMLU (Hendrycks et al. 2021, arXiv 2009.03300) or ARC (Clark et al. 2018)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from holdfast.core.config import Config
from holdfast.core.rows import Row
from holdfast.data.benchmarks.base import BadRowError, text_of
from holdfast.data.benchmarks.question_answering import Questions, subject_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class ChoiceColumns(Config):
    """What the columns are called. The subject's may be missing from the file unless the study names it."""

    question: str = "question"
    choices: str | tuple[str, ...] = "choices"
    """A column that holds a list of texts (or `{text, label}`, as ARC has it), or one column for each choice."""
    answer: str = "answer"
    """The right choice: its letter, its place from 0, or its text."""
    subject: str = "subject"


class MultipleChoice(Questions):
    """Questions with lettered choices, for utility; MMLU's and ARC's files fit."""

    layout: ClassVar[tuple[str, ...]] = ("question", "choices", "answer")
    obtain: ClassVar[str] = "`columns` says what the three are called; `header` names the columns of a bare CSV file."

    kind: Literal["multiple-choice"] = "multiple-choice"
    columns: ChoiceColumns = ChoiceColumns()
    answer_as: Literal["letter", "index", "text"] | None = None
    """How the answer is given. If not set, each row decides; a row whose answer can mean two choices is refused."""
    instruction: str = "Reply with the letter of the right choice only."

    def needed(self) -> tuple[str, ...]:
        """The columns of question, choices and answer, and the subject's if the study names it."""
        columns = self.columns
        subject = (columns.subject,) if "subject" in columns.model_fields_set else ()
        choices = (columns.choices,) if isinstance(columns.choices, str) else columns.choices
        return (columns.question, *choices, columns.answer, *subject)

    def question(self, row: Row) -> str:
        """The question with a line for each choice."""
        choices, _ = self._choices(row)
        lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
        return "\n".join([text_of(row, self.columns.question).strip(), *lines])

    def worked(self, row: Row) -> str:
        """The letter."""
        return LETTERS[self._right(row)]

    def subject(self, row: Row) -> str:
        """The category of a question."""
        return subject_of(row, self.columns.subject, "subject" in self.columns.model_fields_set)

    def reference(self, row: Row) -> dict[str, Any]:
        """The right letter and the choices."""
        return {"letter": self.worked(row), "choices": self._choices(row)[0]}

    def _choices(self, row: Row) -> tuple[list[str], list[str]]:
        """The texts of the choices, and the labels of their own if the file gives them."""
        column = self.columns.choices
        choices: Any = row.get(column) if isinstance(column, str) else [row.get(name) for name in column]
        labels: Any = []
        if isinstance(choices, dict):
            choices, labels = choices.get("text"), choices.get("label")
        if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
            raise BadRowError(f"{column!r} must be a list of 2 to {len(LETTERS)} choices")
        if not isinstance(labels, list) or len(labels) not in (0, len(choices)):
            raise BadRowError(f"{column!r} must have a label for each choice")
        texts = [str(choice).strip() if isinstance(choice, str | int | float) else "" for choice in choices]
        if not all(texts) or len(set(texts)) < len(texts):
            raise BadRowError("two choices are the same, or one is empty")
        return texts, [str(label) for label in labels]

    def _right(self, row: Row) -> int:
        """The place of the right choice."""
        texts, labels = self._choices(row)
        value = row.get(self.columns.answer)
        answer = "" if value is None else str(value).strip()
        places = [str(place) for place in range(len(texts))]
        read = {"letter": labels or list(LETTERS[: len(texts)]), "index": places, "text": texts}
        likely = ["letter"] if labels else ["index"] if isinstance(value, int) else list(read)
        ways = [self.answer_as] if self.answer_as else likely
        meant = {read[way].index(answer) for way in ways if answer in read[way]}
        if len(meant) > 1:
            named = " and ".join(LETTERS[place] for place in sorted(meant))
            raise BadRowError(f"the answer {answer!r} can mean {named}; say `answer_as: letter`, `index` or `text`")
        if not meant:
            raise BadRowError(f"the answer {answer!r} is none of the {len(texts)} choices")
        return meant.pop()
