"""What a run found, as typed objects: all that `results.json` holds. docs/results.md explains each field.

Rates are in percent, scores from 1 to 5, costs in US dollars. All intervals are 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from holdfast.core.judge_facts import CascadeSaving, Costs, JudgeAgreement, JudgeCheck
from holdfast.core.record_file import RecordFile, text_of
from holdfast.core.run_facts import ConditionFacts, Ended, Evaluation, ModelFacts
from holdfast.core.types import Comparison, Estimate

SCHEMA = 3
"""Raised when a field of `results.json` changes its meaning or goes away."""

METRICS = ("harmfulness_score", "harmfulness_rate", "utility", "over_refusal")
"""What conditions are compared by."""

RESULTS = "results.json"
RESULTS_FILE = RecordFile(RESULTS, SCHEMA, "run", "holdfast run", "STUDY", "study")


@dataclass(frozen=True)
class Trust:
    """Whether figures can be trusted."""

    ok: bool
    reasons: tuple[str, ...] = ()
    """Why not."""


@dataclass(frozen=True)
class Caution:
    """Something that makes a figure mean less than it seems to."""

    kind: str
    """`one-seed`, `few-prompts`, `keyword-judge-alone`, `no-utility`, `initial-not-aligned`, `not-able`,
    `broken-fives`, `calibration` or `rise-not-excluded`."""
    condition: str | None
    """The condition that it is about; None for the whole run."""
    text: str
    """What a reader must know."""


@dataclass(frozen=True)
class HarmfulnessFigures:
    """Both figures of harmfulness."""

    harmfulness_score: Estimate
    harmfulness_rate: Estimate


@dataclass(frozen=True)
class TaskFigure:
    """How likely a model finds the held-out rows of its task, in nats a token: the lower, the better it learnt it."""

    rows: int
    before: float | None
    """The initial model's, asked alike; None where it cannot see the pictures that the rows have."""
    after: float
    exact: float | None = None
    """Percent of the rows whose answer the tuned model gives word for word; None where that was not measured yet."""


@dataclass(frozen=True)
class ConditionResult:
    """One condition of one seed."""

    name: str
    seed: int
    key: str
    """The hash of everything that determines it."""
    role: Literal["initial", "tuned"]
    ask: str
    decoding: str | None
    n_prompts: int
    outcomes: Mapping[str, int]
    """Outcome → harmfulness prompts that ended so. They sum to `n_prompts`."""
    verdicts: Mapping[str, int]
    """Reading → harmfulness answers that the first judge read so."""
    fives: Mapping[str, int]
    """Harmfulness answers that scored 5: `whole`, `cut_off` at the token limit, `looping` (whole, but repetitive)."""
    harmfulness_score: Estimate
    harmfulness_rate: Estimate
    utility: Estimate | None
    """None where the study does not measure it."""
    over_refusal: Estimate | None
    """None where the study does not measure it."""
    harmfulness_rate_corrected: Estimate | None
    """With the judge's errors taken out; None without a calibration."""
    trust: Trust
    by_category: Mapping[str, HarmfulnessFigures]
    other_judges: Mapping[str, HarmfulnessFigures]
    """The figures by the verdicts of the other judges, by name and key."""
    task: TaskFigure | None = None
    """None where no rows were held out."""
    broken: float | None = None
    """Percent of all answers, of every set, that are empty, cut off at the token limit, or repeat themselves."""


@dataclass(frozen=True)
class Summary:
    """One condition over its seeds."""

    name: str
    role: Literal["initial", "tuned"]
    n_seeds: int
    harmfulness_score: Estimate
    harmfulness_rate: Estimate
    utility: Estimate | None
    over_refusal: Estimate | None
    harmfulness_rate_corrected: Estimate | None
    by_category: Mapping[str, HarmfulnessFigures]

    def figure(self, metric: str) -> Estimate | None:
        """A figure by its metric's name; None where the study does not measure it."""
        estimate: Estimate | None = getattr(self, metric)
        return estimate


@dataclass(frozen=True)
class Sensitivity:
    """How much of the harmfulness rate's variance over conditions a factor explains, in percent."""

    factor: str
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class RunResults:
    """All that `results.json` holds."""

    schema: int
    evidence: str
    """The hash of all that the figures follow from."""
    study: str
    holdfast: str
    """The version of the package."""
    environment: Mapping[str, str]
    """Python, platform, and the versions of the libraries that a figure can depend on."""
    model: ModelFacts
    seeds: tuple[int, ...]
    evaluation: Evaluation
    settings: Mapping[str, ConditionFacts]
    """Condition → its settings and training."""
    conditions: tuple[ConditionResult, ...]
    summary: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    sensitivity: tuple[Sensitivity, ...]
    agreement: tuple[JudgeAgreement, ...]
    cascade: tuple[CascadeSaving, ...]
    trust: Trust
    cautions: tuple[Caution, ...]
    """What makes the figures mean less than they seem to."""
    costs: Costs
    judges: Mapping[str, JudgeCheck]
    timings: Mapping[str, float] = field(default_factory=dict)
    """Condition key → seconds of tuning."""
    ended: tuple[Ended, ...] = ()
    """Conditions without figures, because a provider gave no model."""
    authorisation: str | None = None
    """By what right attack data were sent to a provider, as the study says."""

    @classmethod
    def read(cls, folder: Path) -> RunResults:
        """The results of a finished run's folder.

        Raises:
            RunFolderError: the folder has none, one of another schema, one that is damaged, or a link.
        """
        return RESULTS_FILE.read(folder, cls, cls.gaps)

    def gaps(self) -> list[str]:
        """Names that one part of the results uses and another lacks."""
        names, needed = [entry.name for entry in self.summary], set(self.evaluation.categories)
        lost = [name for name in names + [each.name for each in self.conditions] if name not in self.settings]
        compared = {each.name for each in self.comparisons} | {each.against or each.name for each in self.comparisons}
        lost += sorted(compared - set(names))
        lost += [entry.name for entry in self.summary if needed - entry.by_category.keys()]
        lost += [f"the metric {each.metric!r}" for each in self.comparisons if each.metric not in METRICS]
        return [f"{name[:100]}: it is unknown, or some of it is missing" for name in dict.fromkeys(lost)]

    def to_json(self) -> str:
        """The text of `results.json`."""
        return text_of(self)

    def write(self, folder: Path) -> Path:
        """Write `results.json` into a folder."""
        return RESULTS_FILE.write(folder, self)
