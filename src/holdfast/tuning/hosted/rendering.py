"""Training rows as a provider takes them: rendered, counted, and checked before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence

from holdfast.core.types import ROLES, Example, Message
from holdfast.tuning.hosted.jobs import Limits

MOST_SHOWN = 10
"""Rows that one error names."""
QUOTED = 24
"""Letters in a row that a message and a row have in common where the message quotes the row."""


def render(rows: Sequence[Example]) -> bytes:
    """Rows as JSON Lines of `messages`, in their order."""
    lines = (json.dumps({"messages": list(map(_turn, row.messages))}, ensure_ascii=False) + "\n" for row in rows)
    return "".join(lines).encode()


def _turn(turn: Message) -> dict[str, str]:
    return {"role": turn.role, "content": turn.content}


def tokens_of(row: Example) -> int:
    """About how many tokens a row has: one for every four bytes, and what a turn adds. Tokenizers differ."""
    return sum(-(-len(turn.content.encode(errors="replace")) // 4) + 4 for turn in row.messages) + 3


def most_tokens(rows: Sequence[Example]) -> int:
    """More tokens than rows are likely to have: one for every two bytes, and what a turn adds."""
    return sum(len(turn.content.encode(errors="replace")) // 2 + 8 for row in rows for turn in row.messages)


def faults(rows: Sequence[Example], limits: Limits) -> list[str]:
    """Why a provider would refuse rows: roles, empty turns, sizes, and how many there are."""
    found = [f"{row.source}: {why}" for row in rows if (why := _fault(row, limits))]
    more = [f"… and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else []
    found = found[:MOST_SHOWN] + more
    if len(rows) < limits.fewest_rows:
        found.append(f"there are {len(rows)} rows, and the provider takes no fewer than {limits.fewest_rows}")
    if not found and (size := len(render(rows))) > limits.most_bytes:
        found.append(f"the rows have {size:,} bytes, and the provider takes at most {limits.most_bytes:,}")
    return found


class Eraser:
    """Takes texts of rows out of a provider's message: no prompt may get into an error or a record."""

    def __init__(self, rows: Sequence[Example]) -> None:
        self.text = "\n".join(turn.content for row in rows for turn in row.messages)

    def __call__(self, message: str) -> str:
        """The message with a mark in place of each stretch of it that stands in a row."""
        kept, at = [], 0
        while at < len(message):
            end = at + QUOTED
            if end > len(message) or message[at:end] not in self.text:
                kept.append(message[at])
                at += 1
                continue
            while end < len(message) and message[at : end + 1] in self.text:
                end += 1
            kept.append("[text of a row]")
            at = end
        return "".join(kept)


def _fault(row: Example, limits: Limits) -> str:
    roles = [turn.role for turn in row.messages]
    if unknown := [role for role in roles if role not in ROLES]:
        return f"the role {unknown[0]!r} is none of {', '.join(ROLES)}"
    if "system" in roles[1:]:
        return "a system turn comes after the first turn"
    if not roles or roles[-1] != "assistant":
        return "the last turn is not the assistant's"
    if "user" not in roles:
        return "there is no turn of the user"
    for number, turn in enumerate(row.messages, 1):
        if not turn.content.strip():
            return f"turn {number} ({turn.role}) is empty"
        try:
            turn.content.encode()
        except UnicodeEncodeError:
            return f"turn {number} ({turn.role}) holds half of a character, which cannot be sent"
    if (tokens := tokens_of(row)) > limits.most_row_tokens:
        return f"it has about {tokens:,} tokens, and the provider takes {limits.most_row_tokens:,} a row"
    return ""
