"""Rows that another source draws from, and the draw."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from holdfast.core.config import OneOf
from holdfast.core.errors import DataError
from holdfast.core.protocols import Source
from holdfast.core.types import Example
from holdfast.data.training import SOURCES

AnySource = Annotated[Source, OneOf(SOURCES)]
"""Any source's settings."""


def _file_of_messages(value: Any) -> Any:
    return {"kind": "messages", "file": value} if isinstance(value, str | Path) else value


RowPool = Annotated[AnySource, BeforeValidator(_file_of_messages)]
"""Any source's settings; a bare file name means a file of `messages`."""


def draw(rows: Sequence[Example], n: int, seed: int, name: str) -> list[Example]:
    """`n` rows of a named source, drawn by seed without replacement; a smaller draw is the beginning of a larger one.

    Raises:
        DataError: fewer rows than `n`.
    """
    if n > len(rows):
        raise DataError(f"{name} has {len(rows)} rows, but {n} are to be drawn.")
    return random.Random(f"draw-{seed}").sample(rows, len(rows))[:n]


def names(source: Source) -> str:
    """The files and data sets of a source."""
    return ", ".join(account.name for account in source.accounts())
