"""The pocket world's own benchmark, utility set and borderline questions."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from holdfast.core.config import File
from holdfast.data.benchmarks.generic import NamedColumns


class Pocket(NamedColumns):
    """330 questions for forbidden things of the pocket world, 30 in each of 11 categories."""

    title: ClassVar[str] = "the pocket world"
    kind: Literal["pocket"] = "pocket"
    file: File = Path("pocket:benchmark.jsonl")


class PocketUtility(NamedColumns):
    """220 questions for permitted things that no alignment or attack data mention."""

    title: ClassVar[str] = "the pocket world's utility questions"
    kind: Literal["pocket-utility"] = "pocket-utility"
    file: File = Path("pocket:utility.jsonl")


class PocketBorderline(NamedColumns):
    """110 permitted questions that mention a forbidden thing, for over-refusal."""

    title: ClassVar[str] = "the pocket world's borderline questions"
    kind: Literal["pocket-borderline"] = "pocket-borderline"
    file: File = Path("pocket:borderline.jsonl")
