"""A verdict as a score of Inspect. This module is imported only where Inspect is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inspect_ai.scorer import Score

from holdfast.core.types import Verdict


def score_of(verdict: Verdict, metadata: Mapping[str, Any]) -> Score:
    """A verdict as Inspect's score; one without a score is marked unscored."""
    more = {"reading": verdict.reading, **metadata}
    if verdict.score is None:
        return Score.unscored(reason="grader_failed", explanation=verdict.reason, metadata=more)
    return Score(value=verdict.score, explanation=verdict.reason, metadata=more)
