"""The looks at a model while it is tuned: their figures, their decisions, and the file that keeps them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.analysis.decision import decide
from holdfast.analysis.evidence import Evidence, PairedScores
from holdfast.analysis.margins import Margins
from holdfast.analysis.power import prompts_needed
from holdfast.core.audit_record import Decision
from holdfast.core.files import write_atomically
from holdfast.core.version import __version__
from holdfast.integrations.trl.probe import Probe, Reading

RECORD, CURVE = "safety.json", "safety.svg"
"""What is written into the trainer's `output_dir`."""


@dataclass(frozen=True)
class Look:
    """One look at the model."""

    step: int
    """Optimizer steps before it; 0 is the model before training."""
    epoch: float
    rate: float | None
    """Harmfulness rate in percent; None without a score."""
    score: float | None
    """Mean harmfulness score."""
    change: float | None
    """Points by which the rate has risen since the look at step 0."""
    low: float | None
    """The rate has risen by at least this, at the error rate of one look."""
    high: float | None
    """The rate has risen by at most this, at the error rate of one look."""
    answer: str
    """The decision; `base` at step 0; `not measured` where the look failed."""
    sentence: str
    """The decision and its main reason, or why the look failed."""
    seconds: float
    """How long it took."""

    def logged(self) -> dict[str, float]:
        """Its figures, as trainers log them."""
        names = {"harmfulness_rate": self.rate, "harmfulness_score": self.score, "change": self.change, "low": self.low,
                 "high": self.high, "seconds": self.seconds}  # fmt: skip
        return {f"safety/{name}": round(value, 4) for name, value in names.items() if value is not None}


@dataclass
class Looks:
    """All looks of one training, the base first."""

    margins: Margins
    """What the tuned model must keep to, with the error rate of the whole training."""
    planned: int
    """Looks at the tuned model that the training takes; the error rate is divided among them."""
    base: Reading | None = None
    done: list[Look] = field(default_factory=list)

    @property
    def margins_of_one(self) -> Margins:
        """The margins with the error rate of a single look (Bonferroni), so that all of them together keep to it."""
        return replace(self.margins, alpha=self.margins.alpha / max(1, self.planned))

    def begin(self, reading: Reading, step: int, epoch: float, seconds: float) -> Look:
        """Take what was read of the model before training as the base."""
        self.base = reading
        look = Look(step, epoch, reading.rate, reading.score, None, None, None, "base", "", seconds)
        self.done.append(look)
        return look

    def add(self, probe: Probe, reading: Reading, step: int, epoch: float, began: float) -> tuple[Look, Decision]:
        """Compare what was read of the tuned model, at a look that began then, with the base, prompt by prompt."""
        decision = self._decide(probe, reading)
        of_rate = next((check for check in decision.checks if check.name == "harmfulness_rate"), None)
        change, low, high = (of_rate.change, of_rate.low, of_rate.high) if of_rate else (None, None, None)
        seconds = time.perf_counter() - began
        figures = (reading.rate, reading.score, change, low, high)
        look = Look(step, epoch, *figures, decision.answer, decision.sentence, seconds)
        self.done.append(look)
        return look, decision

    def failed(self, why: str, step: int, epoch: float, seconds: float) -> None:
        """Take note of a look that could not be taken."""
        self.done.append(Look(step, epoch, None, None, None, None, None, "not measured", why, seconds))

    def _decide(self, probe: Probe, tuned: Reading) -> Decision:
        if self.base is None:
            raise ValueError("the base was not measured")
        ids = tuple(prompt.id for prompt in probe.prompts)
        before, after = (_column(reading.scores, ids) for reading in (self.base, tuned))
        base_broken, broken = (np.array([[one.broken[name]] for name in ids]) for one in (self.base, tuned))
        categories = tuple(prompt.category for prompt in probe.prompts)
        pairs = PairedScores(ids, categories, before, after, seeds_are_models=False)
        return decide(Evidence("tuned", {"harmfulness": pairs}, {}, base_broken, broken), self.margins_of_one)

    def write(self, folder: Path, probe: Probe, training_seconds: float, picture: str | None = None) -> None:
        """Write the record, and the curve if there is one to draw."""
        measuring = sum(look.seconds for look in self.done)
        others = max(training_seconds - measuring, 0.0)
        content = {
            "holdfast": __version__, "prompts": len(probe.prompts), "key": probe.key, "planned_looks": self.planned,
            "alpha_of_one_look": self.margins_of_one.alpha, "margins": asdict(self.margins),
            "measuring_seconds": round(measuring, 3), "training_seconds": round(others, 3),
            "looks": [asdict(look) for look in self.done],
            "base": {"scores": self.base.scores, "broken": self.base.broken} if self.base else None,
        }  # fmt: skip
        write_atomically(folder / RECORD, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        if picture is not None:
            write_atomically(folder / CURVE, picture)


def resumed(folder: Path, probe: Probe, looks: Looks, up_to: int) -> bool:
    """Take over base and looks of a training that goes on from step `up_to`; whether the folder has them."""
    try:
        content: Any = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        same = content["key"] == probe.key and content["base"] is not None
        before = [Look(**look) for look in content["looks"] if look["step"] <= up_to]
        base = Reading(dict(content["base"]["scores"]), dict(content["base"]["broken"]))
        complete = all(prompt.id in base.scores and prompt.id in base.broken for prompt in probe.prompts)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not same or not complete:
        return False
    looks.base, looks.done = base, before
    return True


def prompts_for_a_pass(margins: Margins, planned: int) -> int:
    """The fewest prompts on which a model whose answers did not change can pass at each of so many looks."""
    margin = (margins.harmfulness_rate or 100.0) / 100
    needed = prompts_needed(0.0, 0.0, margin, margins.alpha / max(1, planned), margins.power)
    return max(margins.min_prompts, needed or margins.min_prompts)


def _column(scores: Mapping[str, int | None], ids: Sequence[str]) -> Any:
    return np.array([[np.nan if scores[name] is None else float(scores[name] or 0)] for name in ids])
