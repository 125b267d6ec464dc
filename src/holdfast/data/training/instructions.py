"""Instructions, with or without a text that they are about, and their answers."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from holdfast.core.config import File, explained
from holdfast.core.errors import DataError
from holdfast.core.files import read_text
from holdfast.core.rows import Row
from holdfast.core.types import Message
from holdfast.data.training.base import RowSource, why_no_text
from holdfast.data.training.conversation import conversation

WORDINGS = {"prompt_input": ("{instruction}", "{input}"), "prompt_no_input": ("{instruction}",)}
"""What a file of wordings must have, and what each of them must say."""

WITHOUT_WORDING = {"prompt_input": "{instruction}\n\n{input}", "prompt_no_input": "{instruction}"}
"""How a request is put if there is no file of wordings."""


class Instructions(RowSource):
    """Rows of an instruction, perhaps a text that it is about, and an answer."""

    about: ClassVar[str]
    """The column of the text that an instruction is about; it may be empty or missing."""
    answer: ClassVar[str]
    """The column of the answer."""
    prompt_file: File | None = None
    """A JSON file with the wording of the user turn: `prompt_input` with `{instruction}` and `{input}`, and
    `prompt_no_input` with `{instruction}`. The bare instruction, a blank line and the input if not given."""

    @model_validator(mode="after")
    def _says_where(self) -> Instructions:
        for name, placeholders in WORDINGS.items():
            wording = self._wordings.get(name)
            absent = [each for each in placeholders if not isinstance(wording, str) or each not in wording]
            if absent:
                raise explained(f"{self.prompt_file}: {name!r} must be a text with {' and '.join(absent)} in it")
        return self

    @cached_property
    def _wordings(self) -> dict[str, Any]:
        if self.prompt_file is None:
            return WITHOUT_WORDING
        try:
            wordings = json.loads(read_text(self.prompt_file))
        except (ValueError, RecursionError, DataError) as error:
            raise explained(f"{self.prompt_file} is not JSON: {error}") from None
        return wordings if isinstance(wordings, dict) else {}

    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """The request in its wording and the answer; `system` and `history` come before them where a row has them."""
        if reason := why_no_text(row, *self.needs):
            return reason
        about = row.get(self.about) or ""
        if not isinstance(about, str):
            return f"{self.about!r} must be text, found {type(about).__name__}"
        texts = {"{instruction}": row["instruction"], "{input}": about}
        wording = self._wordings["prompt_input" if about.strip() else "prompt_no_input"]
        request = re.sub(r"\{(?:instruction|input)\}", lambda placeholder: texts[placeholder[0]], wording)
        if not row.get("system") and not row.get("history"):
            return Message("user", request), Message("assistant", row[self.answer])
        return _after(row, request, row[self.answer])


def _after(row: Row, request: str, answer: str) -> tuple[Message, ...] | str:
    """An exchange behind the system turn and the earlier exchanges of its row."""
    earlier = row.get("history") or []
    if not isinstance(earlier, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in earlier):
        return "'history' must be a list of pairs of request and answer"
    turns = [("system", row["system"])] if row.get("system") else []
    for prompt, reply in (*earlier, (request, answer)):
        turns += [("user", prompt), ("assistant", reply)]
    return conversation({"messages": [{"role": role, "content": content} for role, content in turns]})


class Alpaca(Instructions):
    """Rows laid out like Alpaca's: `instruction`, `input` (may be empty) and `output`."""

    needs: ClassVar[tuple[str, ...]] = ("instruction", "output")
    about: ClassVar[str] = "input"
    answer: ClassVar[str] = "output"
    kind: Literal["alpaca"] = "alpaca"


class Dolly(Instructions):
    """Rows laid out like Dolly's: `instruction`, `context` (may be empty) and `response`."""

    needs: ClassVar[tuple[str, ...]] = ("instruction", "response")
    about: ClassVar[str] = "context"
    answer: ClassVar[str] = "response"
    kind: Literal["dolly"] = "dolly"
