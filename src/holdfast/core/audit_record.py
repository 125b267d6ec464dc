"""What an audit found, as typed objects: all that `audit.json` holds. docs/audit.md explains each field.

Rates and shares are in percent, scores from 1 to 5, costs in US dollars. Intervals are 95 % unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from holdfast.core.judge_facts import JudgeAgreement
from holdfast.core.record_file import RecordFile, text_of
from holdfast.core.results import Caution
from holdfast.core.run_facts import ChatFacts, Evaluation
from holdfast.core.types import Estimate

AUDIT_SCHEMA = 1
"""Raised when a field of `audit.json` changes its meaning or goes away."""

AUDIT = "audit.json"
AUDIT_FILE = RecordFile(AUDIT, AUDIT_SCHEMA, "audit", "holdfast audit", "BASE TUNED", "models")

DECISION = "decision.json"
"""What `holdfast gate` writes into a folder: the decision on each tuned condition."""

GateAnswer = Literal["pass", "fail", "cannot tell", "not to be trusted"]
"""What a gate can say of a tuned model. `EXIT_CODES` has the exit code of each."""

EXIT_CODES: Mapping[GateAnswer, int] = {"pass": 0, "fail": 1, "cannot tell": 3, "not to be trusted": 4}
"""The exit codes of `holdfast gate`. They stay as they are; 2 means that the gate could not run."""

Metric = Literal["harmfulness_rate", "harmfulness_score", "over_refusal", "utility", "broken_answers"]


@dataclass(frozen=True)
class Check:
    """One margin of the policy, tested."""

    name: str
    """The metric, or `category: NAME`."""
    metric: Metric
    margin: float
    """The largest change for the worse that the policy allows: points of a rate, or of the score."""
    change: float | None
    """The change for the worse that was measured: tuned − base, or base − tuned for utility; None without data."""
    low: float | None
    """The change is at least this large, at the policy's error rate (one-sided)."""
    high: float | None
    """The change is at most this large, at the policy's error rate (one-sided)."""
    answer: GateAnswer
    needed: bool
    """Whether a pass needs it. Categories with few prompts can fail a model and need not pass it."""
    why: str
    """One sentence: what was found, and why that gives this answer."""
    n_needed: int | None = None
    """Where it cannot tell: prompts that could, at the policy's power; None where no number helps."""
    over: str = "prompts"
    """What `low` and `high` are over."""


@dataclass(frozen=True)
class Decision:
    """The answer of the gate for one tuned model."""

    answer: GateAnswer
    sentence: str
    """The decision and its main reason, in one sentence."""
    reasons: tuple[str, ...]
    """Every reason, the weightiest first."""
    checks: tuple[Check, ...]
    policy: Mapping[str, Any]
    """The policy's settings, all of them."""
    condition: str = "tuned"
    """The tuned condition that it is about."""

    @property
    def exit_code(self) -> int:
        """What `holdfast gate` exits with."""
        return EXIT_CODES[self.answer]


@dataclass(frozen=True)
class FigureChange:
    """One figure of base and tuned model, and their paired difference."""

    metric: Metric
    base: Estimate
    tuned: Estimate
    difference: float | None
    """tuned − base, in points, over prompts that have a score on both sides."""
    low: float | None
    high: float | None
    over: str
    """What the interval of the difference is over."""
    n_pairs: int
    above_noise: bool
    """Whether the difference is larger than what changes that do not matter make (`NoiseFloor`)."""


@dataclass(frozen=True)
class PromptChange:
    """One prompt before and after tuning. Its text is in the run folder's `prompts.jsonl`."""

    id: str
    set: str
    """harmfulness, utility or over_refusal."""
    category: str
    base: float | None
    """Mean score over samples and seeds; None without a score."""
    tuned: float | None
    flip: Literal["", "harmful", "safe"]
    """`harmful`: a 5 after tuning (in most samples) that was none before; `safe`: the other way round."""
    broken: str = ""
    """Why the tuned model's answer is broken, or ""."""


@dataclass(frozen=True)
class CategoryChange:
    """One category before and after tuning."""

    category: str
    n: int
    base: float | None
    """Harmfulness rate."""
    tuned: float | None
    low: float | None
    """Lower end of the interval of the difference, in points."""
    high: float | None
    turned_harmful: int
    turned_safe: int


@dataclass(frozen=True)
class BrokenAnswers:
    """Answers that no judge should be believed on, of one model."""

    share: Estimate
    kinds: Mapping[str, int]
    """empty, cut off, looping, unlikely → answers. Each answer counts once, under the first that holds."""
    least: float | None = None
    """The mean log-likelihood of a token under the base, in nats, below which an answer is unlikely; None where the
    base's likelihoods are not known, as those of a served model."""


@dataclass(frozen=True)
class RefusalWording:
    """How refusals are worded."""

    refusals: int
    """Harmfulness answers that scored 1."""
    openings: Mapping[str, int]
    """The most frequent first words → refusals that begin with them; at most five."""


@dataclass(frozen=True)
class NoiseFloor:
    """How much the base differs from itself under changes that do not matter."""

    changes: tuple[str, ...]
    """What was changed: the size and order of batches; another seed where answers are sampled."""
    rate: float | None
    """Points of the harmfulness rate that the base moved; None where it was not measured."""
    score: float | None
    flipped: int
    """Prompts whose score changed."""
    n: int
    exact: int
    """Answers that are the same to the letter."""
    floor_rate: float | None = None
    """Points of a rate up to which a difference is taken for noise: the larger of `rate` and what the prompts whose 5
    came or went can add up to by chance, 1.96 × √(their number) / n."""
    floor_score: float | None = None
    """The same for the score: the larger of `score` and 1.96 × √(sum of squared changes) / n."""


@dataclass(frozen=True)
class JudgeDirection:
    """What one judge says of the change."""

    judge: str
    difference: float | None
    """Points of the harmfulness rate, tuned − base."""
    low: float | None
    high: float | None


@dataclass(frozen=True)
class AuditedModel:
    """One of the two models: what it is, and proof that it is what ran."""

    name: str
    """As the user named it."""
    kind: Literal["weights", "adapter", "served"]
    fingerprint: str
    """The hash of weights, configuration, tokenizer and chat template; of its name for a served model."""
    files: Mapping[str, str]
    """File → SHA-256 of its bytes; empty for a served model."""
    architecture: str
    quantisation: str
    """As its configuration names it; "" for none."""
    chat: ChatFacts | None
    stand_in: bool
    """Whether it is a model of a shipped world, whose figures are no evidence about any other model."""


@dataclass(frozen=True)
class BroughtSet:
    """A benchmark that was brought from the Hub."""

    name: str
    repo: str
    """The data set's id on the Hub."""
    revision: str
    """The commit that came."""
    pinned: bool
    """Whether that commit is the one that Holdfast names; else it is what a branch pointed to."""
    license: str
    files: Mapping[str, str]
    """File → SHA-256 of its bytes."""


@dataclass(frozen=True)
class Proof:
    """What ran."""

    base: AuditedModel
    tuned: AuditedModel
    template_difference: str
    """A unified diff of the chat templates, cut at 4,000 characters; "" where they are the same."""
    largest_logit_change: float | None
    """The largest difference of a logit between base and tuned model on a few prompts; None for served models, and
    where no difference is a finite number. 0 means that the tuned weights change nothing."""
    descent: tuple[str, ...]
    """Signs that the tuned model is no descendant of the base; empty if there is none."""
    evaluation: Evaluation
    """Benchmarks and judges with their hashes, templates with their system prompts, decoding."""
    environment: Mapping[str, str]
    sources: Mapping[str, BroughtSet] = field(default_factory=dict)
    """Measured set → where it was brought from, if it was named alone."""
    reused: Mapping[str, int] = field(default_factory=dict)
    """Condition → its answers that an earlier audit of the same base had, and that were not asked again."""


@dataclass(frozen=True)
class Sequential:
    """Where questions were asked one block at a time, until the answer was clear."""

    asked: int
    of: int
    stopped: str
    """Why it stopped: `pass`, `fail`, or `all asked`."""


@dataclass(frozen=True)
class AuditRecord:
    """All that `audit.json` holds."""

    schema: int
    holdfast: str
    date: str
    """The day of the audit, YYYY-MM-DD."""
    name: str
    decision: Decision
    figures: tuple[FigureChange, ...]
    flips: Mapping[Literal["harmful", "safe"], int]
    prompts: tuple[PromptChange, ...]
    by_category: tuple[CategoryChange, ...]
    broken: Mapping[Literal["base", "tuned"], BrokenAnswers]
    wording: Mapping[Literal["base", "tuned"], RefusalWording]
    noise: NoiseFloor
    agreement: tuple[JudgeAgreement, ...]
    directions: tuple[JudgeDirection, ...]
    smallest_difference: Mapping[str, float]
    """Metric → the smallest true change for the worse that this audit would have shown with a power of 80 %."""
    proof: Proof
    seeds: tuple[int, ...]
    samples: int
    cautions: tuple[Caution, ...]
    usd: float
    sequential: Sequential | None = None
    timings: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> AuditRecord:
        """The record of a finished audit's folder.

        Raises:
            RunFolderError: the folder has none, one of another schema, one that is damaged, or a link.
        """
        return AUDIT_FILE.read(folder, cls, cls.gaps)

    def gaps(self) -> list[str]:
        """What every reader of an audit uses, and this one lacks."""
        lost = [f"flips: {kind} is missing" for kind in ("harmful", "safe") if kind not in self.flips]
        has_rate = any(figure.metric == "harmfulness_rate" for figure in self.figures)
        return lost if has_rate else [*lost, "figures: the harmfulness rate is missing"]

    def to_json(self) -> str:
        """The text of `audit.json`."""
        return text_of(self)

    def write(self, folder: Path) -> Path:
        """Write `audit.json` into a folder."""
        return AUDIT_FILE.write(folder, self)
