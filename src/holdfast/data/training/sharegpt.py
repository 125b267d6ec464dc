"""Conversations in the layout of collections of shared chats."""

from __future__ import annotations

from typing import ClassVar, Literal

from holdfast.core.files import did_you_mean
from holdfast.core.rows import Row
from holdfast.core.types import Message
from holdfast.data.training.base import RowSource
from holdfast.data.training.conversation import conversation

SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "system": "system",
}  # fmt: skip
"""Name of a speaker in the layout → role."""


class ShareGPT(RowSource):
    """Conversations as ShareGPT has them: rows of `conversations`, each turn with `from` and `value`."""

    needs: ClassVar[tuple[str, ...]] = ("conversations",)
    kind: Literal["sharegpt"] = "sharegpt"

    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """The turns; a `system` column of the row is the system turn."""
        return speakers_turns(row)


def speakers_turns(row: Row) -> tuple[Message, ...] | str:
    """The turns of a row of `conversations`, or the reason why it cannot be trained on."""
    conversation_turns = row["conversations"]
    if not isinstance(conversation_turns, list):
        return f"'conversations' must be a list of turns, found {type(conversation_turns).__name__}"
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for number, turn in enumerate(conversation_turns, 1):
        if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
            return f"turn {number} must have 'from' and 'value'"
        speaker = turn["from"]
        if not isinstance(speaker, str) or speaker not in SPEAKERS:
            near = did_you_mean(str(speaker), SPEAKERS)
            return f"turn {number} is from {speaker!r}; use one of {', '.join(SPEAKERS)}.{near}"
        messages.append({"role": SPEAKERS[speaker], "content": turn["value"]})
    return conversation({"messages": messages, "tools": row.get("tools")})
