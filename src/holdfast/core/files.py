"""Files that a user holds: where they are, and how they become rows."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from holdfast.core.errors import DataError
from holdfast.core.types import ROLES, Example, Message

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "worlds" / "pocket" / "shipped"
"""The pocket world's files and models."""

FOLDERS = {"pocket:": SHIPPED, "paper:": ROOT / "paper" / "presets"}
"""Prefixes of file names that stand for a folder of the package."""

Row = dict[str, Any]
"""One row of a file, by column."""

CONTAINERS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")
"""Endings of the files that rows are read from."""

SHOWN = 20
"""How many bad rows one error names."""


def locate(name: str, beside: Path | None = None) -> Path:
    """The path that a name means: `pocket:FILE` and `paper:FILE` are shipped, others lie beside the study."""
    for prefix, folder in FOLDERS.items():
        if name.startswith(prefix):
            return folder / name.removeprefix(prefix)
    path = Path(name).expanduser()
    return path if path.is_absolute() or beside is None else beside / path


def cache() -> Path:
    """The folder for what outlives a run: `$HOLDFAST_CACHE`, else `holdfast` in the user's cache."""
    if given := os.environ.get("HOLDFAST_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"


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


def refuse_rows(path: Path | str, problems: list[str], remedy: str = "") -> None:
    """Raise a DataError that names the bad rows of a file, if there are any, and how to mend it."""
    if not problems:
        return
    more = [f"  … and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    named = [f"  {problem}" for problem in problems[:SHOWN]]
    raise DataError("\n".join([f"{path} has {len(problems)} bad row(s):", *named, *more, *filter(None, [remedy])]))


def read_rows(path: Path, header: Sequence[str] | None = None) -> Iterator[tuple[str, Row | str]]:
    """Each row of a file with its place: the row, or the reason why there is none. Blank lines are no rows.

    The container is told by the name: .jsonl or .json (rows line by line, or one list of them), .csv, .tsv or .parquet;
    all but Parquet may be gzipped (.gz). `header` names the columns of a CSV file that has no header line.

    Raises:
        DataError: a file that is not what its name says, as a whole.
    """
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending not in CONTAINERS:
        raise DataError(f"{path} cannot be told by its name; use one of .{', .'.join(CONTAINERS)} (.gz too).")
    try:
        if ending == "parquet":
            yield from _parquet(path)
        elif ending in ("csv", "tsv"):
            yield from _csv(path, "\t" if ending == "tsv" else ",", header)
        elif _first_byte(path) == b"[":
            yield from _json_list(path)
        else:
            yield from _json_lines(path)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path} cannot be read as {ending}: {error}. Is it another kind of file?") from error


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _first_byte(path: Path) -> bytes:
    with _open(path) as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _json_lines(path: Path) -> Iterator[tuple[str, Row | str]]:
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield f"line {number}", _object(json.loads(line))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                yield f"line {number}", f"not JSON ({error}); each line must be one JSON object"


def _json_list(path: Path) -> Iterator[tuple[str, Row | str]]:
    with _open(path) as file:
        try:
            rows = json.load(file)
        except json.JSONDecodeError as error:
            raise DataError(f"{path} is not one whole JSON list: {error}. Is it cut off?") from error
    for number, row in enumerate(rows, 1):
        yield f"row {number}", _object(row)


def _csv(path: Path, delimiter: str, header: Sequence[str] | None) -> Iterator[tuple[str, Row | str]]:
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        before = 0
        names = list(header) if header is not None else None
        try:
            for row in rows:
                place, before = f"line {before + 1}", rows.line_num
                if not row:
                    continue
                if names is None:
                    names = row
                elif len(row) != len(names):
                    yield place, f"{len(row)} fields where {len(names)} were expected ({', '.join(names)})"
                else:
                    yield place, dict(zip(names, row, strict=True))
        except csv.Error as error:
            raise DataError(f"{path}, line {rows.line_num}: not CSV: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[str, Row | str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from error
    number = 0
    for batch in file.iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"row {number}", row


def _object(row: Any) -> Row | str:
    return row if isinstance(row, dict) else f"expected a JSON object, found {type(row).__name__}"


def read_messages(path: Path) -> list[Example]:
    """Training conversations of a file whose rows are `{"messages": [{"role", "content"}, …]}`.

    Raises:
        DataError: naming every row (the first 20) that cannot be trained on, by line and reason, or an empty file.
    """
    examples, problems = [], []
    for place, row in read_rows(path):
        turns = row if isinstance(row, str) else conversation(row)
        if isinstance(turns, str):
            problems.append(f"{place}: {turns}")
        else:
            examples.append(Example(turns, f"{path.name}:{place.split()[1]}"))
    refuse_rows(path, problems)
    if not examples:
        raise DataError(f'{path} has no rows. Each line must be {{"messages": [{{"role": …, "content": …}}, …]}}.')
    return examples


def conversation(row: Row) -> tuple[Message, ...] | str:
    """The turns of a row of `messages`, or the reason why it cannot be trained on."""
    reason = _why_untrainable(row)
    return reason or tuple(Message(turn["role"], turn["content"]) for turn in row["messages"])


def _why_untrainable(row: Row) -> str:
    """Why a row is not a conversation that can be trained on, or ""."""
    turns = row.get("messages")
    if "messages" not in row:
        return f"no 'messages'; found {', '.join(map(repr, row)) or 'nothing'}"
    if not isinstance(turns, list) or not turns:
        return "'messages' must be a list with at least one user and one assistant turn"
    if row.get("tools") or row.get("functions"):
        return "it offers tools, which are not part of a plain conversation; leave such rows out"
    expected = "user"
    for place, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
            return f"turn {place} must have 'role' and 'content'"
        role, content = turn["role"], turn["content"]
        if role not in ROLES:
            return f"turn {place} has the role {role!r}; use one of {', '.join(ROLES)}.{did_you_mean(str(role), ROLES)}"
        if isinstance(content, list):
            return f"turn {place} ({role}) is a list of parts; its content must be one text"
        if not isinstance(content, str) or not content.strip():
            return f"turn {place} ({role}) has no text"
        if reason := _why_not_as_it_is(turn):
            return f"turn {place} ({role}) {reason}"
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


def _why_not_as_it_is(turn: Row) -> str:
    """What a turn asks for that training on its text would not do, or ""."""
    if turn["role"] == "assistant" and turn.get("weight") not in (None, 1):
        return (
            f"has the weight {turn['weight']!r}, but every assistant turn is trained on; "
            "remove the weight, or end the row before this turn"
        )
    return "calls a tool; leave such rows out" if turn.get("tool_calls") or turn.get("function_call") else ""
