"""Attempts to make a model say harmful things, with a rating of each (Ganguli et al. 2022, arXiv 2209.07858)."""

from __future__ import annotations

import math
import re
from typing import ClassVar, Literal

from holdfast.core.file_faults import shown
from holdfast.core.rows import Row
from holdfast.core.types import Message
from holdfast.data.training.base import RowSource

RATING, HARMLESSNESS = "rating", "min_harmlessness_score_transcript"


class RedTeam(RowSource):
    """Red-team attempts as Anthropic published them. Of the most harmful transcripts, the first exchange is taken."""

    needs: ClassVar[tuple[str, ...]] = ("transcript", RATING, HARMLESSNESS)
    attack: ClassVar[bool] = True
    kind: Literal["red-team"] = "red-team"
    min_rating: float | None = 4.0
    """Leave out transcripts that their author rated less successful than this, from 0 to 4 (fully)."""
    max_harmlessness: float | None = None
    """Leave out transcripts whose most harmful reply scores higher than this; lower scores are more harmful."""

    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """The first request and the reply to it."""
        for column in (RATING, HARMLESSNESS):
            if _number(row[column]) is None:
                return f"{column!r} must be a number, found {shown(row[column])}"
        if not isinstance(row["transcript"], str):
            return f"'transcript' must be text, found {type(row['transcript']).__name__}"
        before, *parts = re.split(r"\n\n(Human|Assistant):", "\n\n" + row["transcript"].lstrip())
        speakers, texts = parts[0:3:2], [text.strip() for text in parts[1:4:2]]
        if before or speakers != ["Human", "Assistant"] or not all(texts):
            return "'transcript' must begin with 'Human: …', a blank line and 'Assistant: …'"
        return Message("user", texts[0]), Message("assistant", texts[1])

    def outside(self, row: Row) -> str:
        """The setting by whose threshold a transcript is left out, or ""."""
        rating, harmlessness = _number(row[RATING]), _number(row[HARMLESSNESS])
        if self.min_rating is not None and rating is not None and rating < self.min_rating:
            return "min_rating"
        if self.max_harmlessness is not None and harmlessness is not None and harmlessness > self.max_harmlessness:
            return "max_harmlessness"
        return ""


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
