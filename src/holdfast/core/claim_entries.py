"""`claims.json`: what a reproduction says of each of the paper's claims. docs/claims.md explains each field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from holdfast.core.containment import open_own
from holdfast.core.errors import DamagedError, RunFolderError

CLAIMS = "claims.json"
SCHEMA = 1
"""Raised when a field of `claims.json` changes its meaning or goes away."""

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


def read_claims(path: Path) -> dict[str, Any]:
    """What `claims.json` holds.

    Raises:
        DamagedError: it holds something else.
        RunFolderError: it is of another schema, a link, or no plain file.
    """
    try:
        with open_own(path, "rb") as file:
            content = json.loads(file.read())
        TypeAdapter(ClaimsFile).validate_json(json.dumps(content), strict=True)
    except (ValueError, RecursionError) as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else str(error)[:200]
        raise DamagedError(
            f"{path} cannot be read: it is damaged ({where}). `holdfast reproduce` with the same preset and folder "
            "writes it anew."
        ) from None
    if content["schema"] != SCHEMA:
        raise RunFolderError(
            f"{path} cannot be read: it has the schema {content['schema']}, and this version reads {SCHEMA}. Delete "
            "it, and run the same `holdfast reproduce` again: it is written anew."
        )
    return dict(content)
