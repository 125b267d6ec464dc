"""Rows of `messages` → the turns of a conversation that can be trained on, or the reason why there are none."""

from __future__ import annotations

from typing import Any

from holdfast.core.files import did_you_mean
from holdfast.core.rows import Row
from holdfast.core.types import ROLES, Message


def conversation(row: Row) -> tuple[Message, ...] | str:
    """The turns of a row of `messages`, or the reason why it cannot be trained on."""
    turns = row.get("messages")
    if "messages" not in row:
        return f"no 'messages'; found {', '.join(map(repr, row)) or 'nothing'}"
    if not isinstance(turns, list) or not turns:
        return "'messages' must be a list with at least one user and one assistant turn"
    if row.get("tools") or row.get("functions"):
        return "it offers tools, which are not part of a plain conversation; leave such rows out"
    expected = "user"
    for number, turn in enumerate(turns, 1):
        if problem := _problem_of_turn(turn):
            return f"turn {number} {problem}"
        role = turn["role"]
        if role == "system" and number == 1:
            continue
        if role != expected:
            return f"turn {number} is the {role}'s where the {expected}'s was expected; turns must alternate"
        expected = "assistant" if role == "user" else "user"
    if turns[-1]["role"] != "assistant":
        return "it does not end with an assistant turn, so there is nothing to learn"
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)


def _problem_of_turn(turn: Any) -> str:
    """Why one turn, looked at by itself, cannot be trained on; or ""."""
    if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
        return "must have 'role' and 'content'"
    role, content = turn["role"], turn["content"]
    if role not in ROLES:
        return f"has the role {role!r}; use one of {', '.join(ROLES)}.{did_you_mean(str(role), ROLES)}"
    if isinstance(content, list):
        return f"({role}) is a list of parts; its content must be one text"
    if not isinstance(content, str) or not content.strip():
        return f"({role}) has no text"
    if role == "assistant" and turn.get("weight") not in (None, 1):
        return (
            f"({role}) has the weight {turn['weight']!r}, but every assistant turn is trained on; "
            "remove the weight, or end the row before this turn"
        )
    if turn.get("tool_calls") or turn.get("function_call"):
        return f"({role}) calls a tool; leave such rows out"
    return ""
