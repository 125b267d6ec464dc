"""Files that a user holds: where they are, and how rows of JSON Lines become examples."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from holdfast.errors import DataError
from holdfast.types import ROLES, Example, Message

SHIPPED = Path(__file__).parent / "pocket" / "shipped"
"""The pocket world's files and models."""

FOLDERS = {"pocket:": SHIPPED, "paper:": Path(__file__).parent / "studies" / "paper"}
"""Prefixes of file names that stand for a folder of the package."""

SHOWN = 20
"""How many bad rows one error names."""


def locate(name: str, beside: Path | None = None) -> Path:
    """The path that a name means: `pocket:FILE` and `paper:FILE` are shipped, others lie beside the study."""
    for prefix, folder in FOLDERS.items():
        if name.startswith(prefix):
            return folder / name.removeprefix(prefix)
    path = Path(name).expanduser()
    return path if path.is_absolute() or beside is None else beside / path


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest allowed name, or nothing."""
    close = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file, or leave the old one as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def refuse_rows(path: Path, problems: list[str]) -> None:
    """Raise a DataError that names the bad rows of a file, if there are any."""
    if not problems:
        return
    more = f"\n  … and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    raise DataError(f"{path} has {len(problems)} bad row(s):\n  " + "\n  ".join(problems[:SHOWN]) + more)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line numbers with the object on each line, or with the reason why there is none; blank lines are passed over."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                yield number, f"not JSON ({error}); each line must be one JSON object"
                continue
            yield number, row if isinstance(row, dict) else f"expected a JSON object, found {type(row).__name__}"


def read_messages(path: Path) -> list[Example]:
    """Training conversations of a JSON Lines file whose rows are `{"messages": [{"role", "content"}, …]}`.

    Raises:
        DataError: naming every row (the first 20) that cannot be trained on, by line and reason, or an empty file.
    """
    examples, problems = [], []
    for number, row in read_jsonl(path):
        reason = row if isinstance(row, str) else _why_untrainable(row)
        if reason:
            problems.append(f"line {number}: {reason}")
        elif isinstance(row, dict):
            turns = tuple(Message(turn["role"], turn["content"]) for turn in row["messages"])
            examples.append(Example(turns, f"{path.name}:{number}"))
    refuse_rows(path, problems)
    if not examples:
        raise DataError(f'{path} has no rows. Each line must be {{"messages": [{{"role": …, "content": …}}, …]}}.')
    return examples


def _why_untrainable(row: dict[str, Any]) -> str:
    """Why a row is not a conversation that can be trained on, or ""."""
    turns = row.get("messages")
    if "messages" not in row:
        return f"no 'messages'; found {', '.join(map(repr, row)) or 'nothing'}"
    if not isinstance(turns, list) or not turns:
        return "'messages' must be a list with at least one user and one assistant turn"
    expected = "user"
    for place, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
            return f"turn {place} must have 'role' and 'content'"
        role, content = turn["role"], turn["content"]
        if role not in ROLES:
            return f"turn {place} has the role {role!r}; use one of {', '.join(ROLES)}.{did_you_mean(str(role), ROLES)}"
        if not isinstance(content, str) or not content.strip():
            return f"turn {place} ({role}) has no text"
        if role == "system" and place == 1:
            continue
        if role != expected:
            return f"turn {place} is the {role}'s where the {expected}'s was expected; turns must alternate"
        expected = "assistant" if role == "user" else "user"
    return (
        ""
        if turns[-1]["role"] == "assistant"
        else "it does not end with an assistant turn, so there is nothing to learn"
    )
