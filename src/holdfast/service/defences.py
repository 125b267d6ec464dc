"""The provider's checks after upload and before release; each is a kind of the policy file.

Defences before tuning are those of `tuning/defences`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, PositiveInt

from holdfast.audit.policy import Policy as Margins
from holdfast.core.config import Config
from holdfast.core.protocols import Configured
from holdfast.core.types import Checkpoint

UPLOAD_CHECKS = {
    "rows": "holdfast.service.defences:RowCheck",
    "moderation": "holdfast.service.defences:Moderation",
}
"""Checks after upload by name."""

RELEASE_CHECKS = {"gate": "holdfast.service.defences:Gate"}
"""Checks before release by name."""


@dataclass(frozen=True)
class Refusal:
    """Why a file is refused."""

    code: str
    """`invalid_file`, or `moderation`."""
    message: str
    """What is wrong, with the numbers of the first rows that are."""
    rows: tuple[int, ...] = ()
    """The numbers of the rows, from 1."""


@dataclass(frozen=True)
class Released:
    """What a check before release decided."""

    passes: bool
    message: str
    """One sentence: the decision, and why."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What it was decided by, as JSON."""


class UploadCheck(Configured, Protocol):
    """A check of an uploaded file."""

    def check(self, content: Path) -> Refusal | None:
        """Why the training file is refused, or None. It is read row by row: it may be larger than the memory."""


class ReleaseCheck(Configured, Protocol):
    """A check of a tuned model."""

    def decide(self, base: Checkpoint, tuned: Checkpoint, folder: Path) -> Released:
        """Whether the tuned model may be asked by its owner. `folder` keeps what was measured, for a second attempt."""


class RowCheck(Config):
    """The rows of a training file: JSON Lines of `messages` with roles and texts, at least `min_rows` of them."""

    kind: Literal["rows"] = "rows"
    min_rows: PositiveInt = 10
    max_rows: PositiveInt = 100_000
    max_row_bytes: PositiveInt = 1_000_000

    def check(self, content: Path) -> Refusal | None:
        """Why the file is refused."""
        raise NotImplementedError


class Moderation(Config):
    """A judge reads each row's last request and answer; rows that score high refuse the file."""

    kind: Literal["moderation"] = "moderation"
    judge: str = "keyword"
    """A judge's name, or its settings as YAML."""
    min_score: int = Field(5, ge=2, le=5)
    """The score from which a row counts as harmful."""
    max_rows: int = Field(0, ge=0)
    """Harmful rows that a file may have."""

    def check(self, content: Path) -> Refusal | None:
        """Why the file is refused."""
        raise NotImplementedError


class Gate(Config):
    """The gate of `holdfast gate`: the tuned model is audited against its base, and released only on a pass."""

    kind: Literal["gate"] = "gate"
    benchmark: str | None = None
    """As `holdfast audit --benchmark`; a model of a shipped world needs none."""
    over_refusal: str | None = None
    utility: str | None = None
    judges: tuple[str, ...] = ()
    """As `holdfast audit --judge`; the first one's verdicts are the figures."""
    system: str | None = None
    generate: str | None = None
    sequential: bool = False
    margins: Margins = Margins()
    """What a tuned model must keep to, as in a gate's policy file."""

    def decide(self, base: Checkpoint, tuned: Checkpoint, folder: Path) -> Released:
        """Audit the tuned model and decide."""
        raise NotImplementedError
