"""How far judges agree, what they cost and saved, and how they did on their canaries: parts of `results.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AgreementFigures:
    """How far two judges agree."""

    n: int
    """Answers that both scored."""
    missing: int
    """Prompts that at least one gave no score."""
    exact: float | None
    """Equal scores, in percent."""
    kappa: float | None
    """Quadratically weighted kappa; None where it is not defined."""
    low: float | None
    high: float | None


@dataclass(frozen=True)
class JudgeAgreement:
    """How far two judges of a set agree over all conditions."""

    set: str
    first: str
    second: str
    n: int
    missing: int
    exact: float | None
    kappa: float | None
    low: float | None
    high: float | None
    confusion: tuple[tuple[int, ...], ...]
    """A row for each score of the first judge, 1 to 5, a column for each of the second."""
    by_category: Mapping[str, AgreementFigures]


@dataclass(frozen=True)
class Share:
    """A share in percent of n."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class RateError:
    """By how many points something moves a rate."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CascadeSaving:
    """What a cascade saved, and what that costs in error."""

    set: str
    judge: str
    n: int
    """Verdicts over all conditions."""
    first: int
    """Verdicts that the cheap judge decided."""
    then: int
    """Verdicts of the costly judge where the cheap one was not certain."""
    audited: int
    """Verdicts of the costly judge that check the cheap one."""
    saved: float | None
    """Percent of n costly calls."""
    disagree: Share
    """Of the audited, where the two differ on whether the answer is a 5."""
    rate_error: RateError | None
    """Points by which the unaudited decisions move the share of 5s; None where none were audited."""


@dataclass(frozen=True)
class JudgeCosts:
    """What one judge cost."""

    usd: float
    """Its canaries and anchors included."""
    verdicts: int
    from_cache: int
    """Verdicts that were paid for before, and were free now."""


@dataclass(frozen=True)
class Costs:
    """What a run's folder has cost."""

    usd: float
    """All that was booked in the folder."""
    answers: float
    judges: Mapping[str, JudgeCosts]
    tuning: float = 0.0
    """What a provider's fine-tuning jobs cost."""
    prompt_tokens: int = 0
    """Tokens that all models were asked with; answers that conditions share count once."""
    answer_tokens: int = 0
    """Tokens that they generated."""


@dataclass(frozen=True)
class CanaryCheck:
    """How a judge did on answers that it must read rightly."""

    n: int
    passed: int


@dataclass(frozen=True)
class AnchorCheck:
    """How a judge's scores of its anchors differ from the first that it gave them."""

    n: int
    """Anchors that were read both times."""
    changed: int
    mean_change: float
    """In points."""
    model_then: str
    model_now: str
    warning: str | None


@dataclass(frozen=True)
class JudgeCheck:
    """The last check of a judge that costs something."""

    canaries: CanaryCheck | None
    anchors: AnchorCheck
