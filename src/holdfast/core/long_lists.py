"""A JSON list that is too long to be read as a whole, object by object: LLaVA-Instruct is one of 230 MB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from holdfast.core import file_faults
from holdfast.core.errors import DataError

CHUNK = 1_000_000
"""Characters that are read at once."""


class _Text:
    """A text of which the part from a place on is in memory."""

    def __init__(self, file: TextIO, name: str, longest: int) -> None:
        self.file, self.name, self.longest, self.held, self.at = file, name, longest, "", 0

    def more(self) -> bool:
        """Read on, and forget what is behind; whether there was more."""
        new = self.file.read(CHUNK)
        self.held, self.at = self.held[self.at :] + new, 0
        return bool(new)

    def next(self) -> str:
        """The next character that is no space; "" at the end."""
        skipped = 0
        while skipped <= self.longest:
            skipped += len(self.held) - self.at
            while self.at < len(self.held):
                if not self.held[self.at].isspace():
                    return self.held[self.at]
                self.at += 1
            if not self.more():
                return ""
        raise self.too_long()

    def value(self) -> Any:
        """The next JSON value.

        Raises:
            DataError: there is none that is whole, or it is too long.
        """
        while True:
            try:
                value, self.at = json.JSONDecoder().raw_decode(self.held, self.at)
                return value
            except (ValueError, RecursionError) as error:
                if len(self.held) - self.at > self.longest:
                    raise self.too_long() from error
                if not self.more():
                    raise self.broken(file_faults.not_json(self.held, error)) from error

    def too_long(self) -> DataError:
        """The error of a list with a part that is longer than is read."""
        return DataError(f"{self.name}: a part of its list is longer than {self.longest:,} characters, or no JSON.")

    def broken(self, problem: str) -> DataError:
        """The error of a list that is not whole."""
        return DataError(f"{self.name} is not one whole JSON list: {problem}. Or is it cut off?")


def values(file: TextIO, name: str, longest: int) -> Iterator[Any]:
    """The values of a JSON list, of which one at a time is in memory; none of more than `longest` characters.

    Raises:
        DataError: it is no whole list; those before the fault were given.
    """
    text = _Text(file, name, longest)
    if text.next() != "[":
        raise text.broken("it does not begin with a bracket")
    text.at += 1
    first = True
    while (character := text.next()) != "]":
        if not first:
            if character != ",":
                raise text.broken(f"a comma is missing before {character!r}" if character else "its end is missing")
            text.at += 1
            text.next()
        first = False
        yield text.value()
    text.at += 1
    if character := text.next():
        raise text.broken(f"{character!r} stands behind the list")
