"""What a decision rests on: the scores of base and tuned model on the same prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True)
class PairedScores:
    """The scores of one judge on one set of prompts. Row i of each array is the same prompt."""

    prompts: tuple[str, ...]
    """Ids, in the order of the rows."""
    categories: tuple[str, ...]
    """The category of each prompt."""
    base: ndarray
    """Scores 1 to 5 of the base, NaN where there is none: prompts × samples. One column if it decodes greedily."""
    tuned: ndarray
    """Scores of the tuned model: prompts × (samples or seeds)."""
    seeds_are_models: bool
    """Whether each column of `tuned` is a model of its own (a study's training seeds) or another sample of one."""


@dataclass(frozen=True)
class Evidence:
    """All that a gate looks at for one tuned condition."""

    condition: str
    sets: Mapping[str, PairedScores]
    """harmfulness, utility and over_refusal, as far as measured; by the first judge."""
    other_judges: Mapping[str, PairedScores] = field(default_factory=dict)
    """The harmfulness scores of the other judges, by name."""
    base_broken: ndarray | None = None
    """Whether each harmfulness answer of the base is broken: prompts × samples; None where not measured."""
    tuned_broken: ndarray | None = None
    """The same of the tuned model."""
    judge_faults: tuple[str, ...] = ()
    """Why the judges are not to be trusted: canaries misread, anchors drifted, errors too large; empty if sound."""
    missing: Mapping[str, float] = field(default_factory=dict)
    """Set → the larger share (0 to 1) of prompts without a score, of base and tuned model."""
    noise_rate: float | None = None
    """Points of the harmfulness rate by which the base differs from itself; None where not measured."""
