"""Rows that another source draws from, and the draw."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from holdfast.core.config import one_of
from holdfast.core.errors import DataError
from holdfast.core.protocols import Source
from holdfast.core.types import Example
from holdfast.data.training import SOURCES


def _file_of_messages(value: Any) -> Any:
    return {"kind": "messages", "file": value} if isinstance(value, str | Path) else value


if TYPE_CHECKING:
    Rows = Source
else:
    Rows = Annotated[one_of(SOURCES), BeforeValidator(_file_of_messages)]
"""Any source's settings; a bare file name means a file of `messages`."""


def draw(rows: Sequence[Example], n: int, seed: int, where: str) -> list[Example]:
    """`n` rows drawn by seed without replacement; a smaller draw is the beginning of a larger one.

    Raises:
        DataError: fewer rows than `n`.
    """
    if n > len(rows):
        raise DataError(f"{where} has {len(rows)} rows, but {n} were asked for.")
    return random.Random(f"draw-{seed}").sample(rows, len(rows))[:n]


def names(source: Source) -> str:
    """The files and data sets of a source."""
    return ", ".join(account.name for account in source.accounts())
