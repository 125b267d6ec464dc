"""Prompts with their completions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from holdfast.core.rows import Row
from holdfast.core.types import Message
from holdfast.data.training.base import RowSource
from holdfast.data.training.conversation import conversation


class PromptCompletion(RowSource):
    """Rows of `prompt` and `completion`, both texts or both lists of messages."""

    needs: ClassVar[tuple[str, ...]] = ("prompt", "completion")
    kind: Literal["prompt-completion"] = "prompt-completion"

    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """A user and an assistant turn, without white space at their ends; or the messages as they are."""
        prompt, completion = (_messages(row[column], role) for column, role in self._speakers)
        if prompt is None or completion is None or isinstance(row["prompt"], str) != isinstance(row["completion"], str):
            return "'prompt' and 'completion' must both be texts or both be lists of messages"
        return conversation({**row, "messages": prompt + completion})

    _speakers: ClassVar[tuple[tuple[str, str], ...]] = (("prompt", "user"), ("completion", "assistant"))


def _messages(value: Any, role: str) -> list[Any] | None:
    if isinstance(value, str):
        return [{"role": role, "content": value.strip()}]
    return value if isinstance(value, list) else None
