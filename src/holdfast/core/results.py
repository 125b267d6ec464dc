"""What a run found, as typed objects: all that `results.json` holds. docs/results.md explains each field.

Rates are in percent, scores from 1 to 5, costs in US dollars. All intervals are 95 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from holdfast.core.containment import refuse_links
from holdfast.core.errors import DamagedError, RunFolderError
from holdfast.core.files import write_atomically
from holdfast.core.judge_facts import CascadeSaving, Costs, JudgeAgreement, JudgeCheck
from holdfast.core.run_facts import ConditionFacts, Ended, Evaluation, ModelFacts
from holdfast.core.types import Comparison, Estimate

SCHEMA = 3
"""Raised when a field of `results.json` changes its meaning or goes away."""

METRICS = ("harmfulness_score", "harmfulness_rate", "utility", "over_refusal")
"""What conditions are compared by."""

RESULTS = "results.json"
AGAIN = "`holdfast run` with the same study and folder writes it again."


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
        refuse_links(folder)
        path = folder / RESULTS
        if not path.is_file():
            raise RunFolderError(f"{path} does not exist. Finish the run first: `holdfast run STUDY --out {folder}`.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{path} is not JSON: {error}. {AGAIN}") from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: Any, name: str = RESULTS) -> RunResults:
        """Results from what a JSON file holds; `name` is the file's in messages.

        Raises:
            RunFolderError: another schema, or DamagedError: fields that are missing or of another type.
        """
        from pydantic import ValidationError

        if not isinstance(content, dict):
            raise DamagedError(f"{name} holds {type(content).__name__} in place of an object. {AGAIN}")
        if (found := content.get("schema")) != SCHEMA:
            raise RunFolderError(
                f"{name} has the schema {found!r}, and this version of Holdfast reads {SCHEMA}. Run the study again in "
                "a new folder (--out), or read it with the version that wrote it."
            )
        try:
            json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
            results: RunResults = _reader().validate_python(content)
            problems = results.gaps()
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)[:5]]
        except (ValueError, RecursionError) as error:  # NaN, an infinite number, or half of a character
            problems = [str(error)[:200]]
        if problems:
            raise DamagedError(f"{name} cannot be read:\n  " + "\n  ".join(problems) + f"\n{AGAIN}")
        return results

    def gaps(self) -> list[str]:
        """Names that one part of the results uses and another lacks."""
        names, needed = [entry.name for entry in self.summary], set(self.evaluation.categories)
        lost = [name for name in names + [each.name for each in self.conditions] if name not in self.settings]
        lost += [entry.name for entry in self.summary if needed - entry.by_category.keys()]
        lost += [f"the metric {each.metric!r}" for each in self.comparisons if each.metric not in METRICS]
        return [f"{name[:100]}: it is unknown, or some of it is missing" for name in lost[:5]]

    def to_json(self) -> str:
        """The text of `results.json`."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def write(self, folder: Path) -> Path:
        """Write `results.json` into a folder."""
        write_atomically(folder / RESULTS, self.to_json())
        return folder / RESULTS


@cache
def _reader() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(RunResults)
