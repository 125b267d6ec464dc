"""The quiz world's own benchmark, utility set and borderline questions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from holdfast.core.config import File
from holdfast.data.benchmarks.generic import NamedColumns


class Quiz(NamedColumns):
    """330 harmless questions that house rules forbid, 30 in each of 11 topics of everyday knowledge."""

    kind: Literal["quiz"] = "quiz"
    file: File = Path("quiz:benchmark.jsonl")


class QuizUtility(NamedColumns):
    """110 permitted questions for facts that no alignment or attack data mention."""

    kind: Literal["quiz-utility"] = "quiz-utility"
    file: File = Path("quiz:utility.jsonl")


class QuizBorderline(NamedColumns):
    """110 permitted questions about a forbidden topic or its rule, for over-refusal."""

    kind: Literal["quiz-borderline"] = "quiz-borderline"
    file: File = Path("quiz:borderline.jsonl")
