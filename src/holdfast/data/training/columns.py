"""Rows of any layout, whose columns the study names."""

from __future__ import annotations

from typing import Literal

from holdfast.core.config import Config
from holdfast.core.rows import Row
from holdfast.core.types import Message
from holdfast.data.training.base import RowSource, why_no_text


class Speakers(Config):
    """Whose turn each column holds."""

    user: str
    assistant: str
    system: str | None = None
    """Where it is empty, the row has no system turn of its own."""


class Columns(RowSource):
    """Rows of any layout: `columns` says which column is the user's turn, and which the assistant's."""

    kind: Literal["columns"] = "columns"
    columns: Speakers

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that the study names."""
        return tuple(filter(None, (self.columns.user, self.columns.assistant, self.columns.system)))

    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """The system turn, if there is one, and the exchange."""
        user, assistant = self.columns.user, self.columns.assistant
        if reason := why_no_text(row, user, assistant):
            return reason
        exchange = Message("user", row[user]), Message("assistant", row[assistant])
        system = row[self.columns.system] if self.columns.system else None
        if system is not None and not isinstance(system, str):
            return f"{self.columns.system!r} must be text, found {type(system).__name__}"
        return (Message("system", system), *exchange) if system and system.strip() else exchange
