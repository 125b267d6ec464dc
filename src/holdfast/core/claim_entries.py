"""`claims.json`: what a reproduction says of each of the paper's claims. docs/claims.md explains each field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

from holdfast.core.record_file import RecordFile

CLAIMS = "claims.json"
SCHEMA = 1
"""Raised when a field of `claims.json` changes its meaning or goes away."""

CLAIMS_FILE = RecordFile(CLAIMS, SCHEMA, "reproduction", "holdfast reproduce", "PRESET", "preset")

Verdict = Literal["reproduced", "not reproduced", "inconclusive"]


class Entry(TypedDict):
    """One claim, and what the run says of it."""

    id: str
    table: str
    claim: str
    verdict: Verdict
    effect: float | None
    low: float | None
    high: float | None
    p_value: float
    over: str
    test: str
    margin: float
    higher: list[str]
    lower: list[str]
    n_seeds: int
    seen: str
    reason: str | None


class ClaimsFile(TypedDict):
    """What the file holds."""

    schema: int
    evidence: str
    """The hash of all that the verdicts follow from."""
    claims: list[Entry]


def read_claims(folder: Path) -> dict[str, Any]:
    """What `claims.json` holds.

    Raises:
        DamagedError: it holds something else.
        RunFolderError: it is missing, of another schema, a link, or no plain file.
    """
    return dict(CLAIMS_FILE.read(folder, ClaimsFile))
