"""What a look at a study found, and what its run will take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from holdfast.core.errors import HoldfastError
from holdfast.core.files import why_file_failed, write_atomically
from holdfast.study import hosted_rules
from holdfast.study.schema import Study

Level = Literal["fault", "warning", "note"]
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One thing that a user should know before the run."""

    level: Level
    """`fault`: the run would fail or its figures would be wrong; `warning`: look at it; `note`: good to know."""
    where: str
    """The part of the study."""
    what: str
    """What it is, and how to mend it."""


@dataclass(frozen=True)
class Stage:
    """One stage of a run: what it handles, and what it takes."""

    name: str
    tokens: int
    """Tokens that are trained on, or read and written; for answers and verdicts, the most that there can be."""
    seconds: float | None
    """Time until it is done, with all workers at work; None where it cannot be known from here."""
    usd: float
    """US dollars: the most that it can cost at the prices that the study names."""


@dataclass
class Diagnosis:
    """What was found, and what the run will take."""

    findings: list[Finding] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    """Empty where a fault keeps the study from being estimated."""
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes that tuning and answering need, by name."""
    free_memory: int = 0
    """Bytes that are free."""
    disk: int = 0
    """The most bytes that the run has on disk at one time."""
    free_disk: int = 0
    """Bytes that are free where the run will be."""

    @property
    def faults(self) -> list[Finding]:
        """What must be mended."""
        return [finding for finding in self.findings if finding.level == "fault"]

    @property
    def total(self) -> Stage:
        """All stages together; its time is None where no stage's is known."""
        seconds = [stage.seconds for stage in self.stages if stage.seconds is not None]
        tokens, usd = sum(stage.tokens for stage in self.stages), sum(stage.usd for stage in self.stages)
        return Stage("total", tokens, sum(seconds) if seconds else None, usd)

    def add(self, level: Level, where: str, what: str) -> None:
        """Add a finding, once."""
        finding = Finding(level, where, what)
        if finding not in self.findings:
            self.findings.append(finding)

    def attempt(self, where: str, work: Callable[..., T], *arguments: object) -> T | None:
        """What the work gives, or None and a fault that says why not."""
        try:
            return work(*arguments)
        except HoldfastError as error:
            self.add("fault", where, str(error))
        except OSError as error:
            reason = why_file_failed(error)
            if not reason:
                raise
            self.add("fault", where, reason)
        return None

    def price(self, usd_per_hour: float) -> None:
        """Add what this machine's hours cost to each stage."""
        self.stages = [replace(s, usd=s.usd + (s.seconds or 0.0) / 3600 * usd_per_hour) for s in self.stages]

    def check_caps(self, study: Study, max_usd: float | None, max_hours: float | None) -> None:
        """Tell caps that cannot be kept, and those that the run is likely to reach before it is done."""
        self.attempt("--max-usd", hosted_rules.check_cap, study, max_usd)
        total = self.total
        hours = (total.seconds or 0.0) / 3600
        if max_usd is not None and total.usd > max_usd:
            why = f"the run can cost ${total.usd:.2f}, and the cap is ${max_usd:.2f}: it would stop on the way"
            self.add("fault", "--max-usd", why)
        if max_hours is not None and hours > max_hours:
            why = f"the run takes about {hours:.2f} hours, and the cap is {max_hours:g}: it may stop on the way"
            self.add("warning", "--max-hours", why)

    def as_json(self) -> dict[str, Any]:
        """All of it, as `doctor.json` holds it."""
        return {**asdict(self), "total": asdict(self.total)}

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        write_atomically(path, json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n")
