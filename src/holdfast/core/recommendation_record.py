"""What `holdfast recommend` found, as typed objects: all that `recommendation.json` holds (docs/arena.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.core.record_file import RecordFile
from holdfast.core.types import Estimate

RECOMMENDATION = "recommendation.json"
RECOMMENDATION_SCHEMA = 1
"""Raised when a field of `recommendation.json` changes its meaning or goes away."""

RECOMMENDATION_FILE = RecordFile(
    RECOMMENDATION,
    RECOMMENDATION_SCHEMA,
    "recommendation",
    "holdfast recommend",
    "DATA --model MODEL",
    "rows and model",
)


@dataclass(frozen=True)
class Tried:
    """One defence, tried on the user's own rows."""

    name: str
    settings: tuple[Mapping[str, Any], ...]
    """As a study names them."""
    rate: Estimate
    """The harmfulness rate after tuning."""
    task_gain: float | None
    """What was learnt of the task, in percent of what the undefended model learnt."""
    utility_kept: float | None
    """The utility in percent of the undefended model's; None where it is not measured."""
    over_refusal: float | None
    broken: float | None
    refused: str
    """Why it is not recommended whatever it keeps; "" if nothing speaks against it."""


@dataclass(frozen=True)
class Recommendation:
    """All that `recommendation.json` holds."""

    schema: int
    evidence: str
    """The hash of all that the figures follow from."""
    model: str
    data: str
    stand_in: bool
    chosen: str | None
    """The defence to use; `none` where plain tuning did no harm that was seen; None where none can be recommended."""
    why: str
    """In a sentence or two."""
    tried: tuple[Tried, ...]
    """The undefended model first."""
    study: str
    """The line for a study."""
    trl: str
    """The lines for a TRL script."""
    unseen: tuple[str, ...]
    """What this small budget could not have seen."""
