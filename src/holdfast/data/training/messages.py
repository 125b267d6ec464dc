"""Conversations in the format of fine-tuning APIs."""

from __future__ import annotations

from typing import ClassVar, Literal

from holdfast.core.rows import Row
from holdfast.core.types import Message
from holdfast.data.training.base import RowSource
from holdfast.data.training.conversation import conversation


class Messages(RowSource):
    """Conversations as fine-tuning APIs take them: rows of `messages`, each with `role` and `content`."""

    needs: ClassVar[tuple[str, ...]] = ("messages",)
    kind: Literal["messages"] = "messages"

    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """The turns as they are."""
        return conversation(row)
