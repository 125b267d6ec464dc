"""What a look at a study found, and what its run will take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from holdfast.core.errors import HoldfastError
from holdfast.core.files import write_atomically
from holdfast.study.doctor.cost_model import Stage

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


@dataclass
class Diagnosis:
    """What was found, and what the run will take."""

    findings: list[Finding] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes that tuning and answering need, by name."""
    memory_found: int = 0
    """Bytes that there are."""

    @property
    def faults(self) -> list[Finding]:
        """What must be mended."""
        return [finding for finding in self.findings if finding.level == "fault"]

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
            return None

    def price(self, usd_per_hour: float) -> None:
        """Add what this machine's hours cost to each stage."""
        self.stages = [replace(s, usd=s.usd + (s.seconds or 0.0) / 3600 * usd_per_hour) for s in self.stages]

    def check_caps(self, max_usd: float | None, max_hours: float | None) -> None:
        """Tell caps that the run is likely to reach before it is done."""
        usd = sum(stage.usd for stage in self.stages)
        hours = sum(stage.seconds or 0.0 for stage in self.stages) / 3600
        if max_usd is not None and usd > max_usd:
            why = f"the run can cost ${usd:.2f}, and the cap is ${max_usd:.2f}: it would stop on the way"
            self.add("fault", "--max-usd", why)
        if max_hours is not None and hours > max_hours:
            why = f"the run takes about {hours:.2f} hours, and the cap is {max_hours:g}: it may stop on the way"
            self.add("warning", "--max-hours", why)

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        write_atomically(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
