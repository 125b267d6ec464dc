"""The verdict book: what a judge was paid for once, on this machine, is never bought again.

HOLDFAST_CACHE (or ~/.cache/holdfast)/verdicts/
<kind>-<key>.jsonl     a verdict a line, under the hash of all that it rests on; lines are only ever added
<kind>-<key>.claims/   what is being bought at this moment, a locked file for each buyer
"""

from __future__ import annotations

import fcntl
import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from holdfast.files import cache
from holdfast.store import append_lines
from holdfast.types import READINGS, Answer, Prompt, Verdict, content_hash

KEPT = tuple(reading for reading in READINGS if reading != "judge_error")
"""Readings that stand. Where the judge failed, it is asked again."""


def name_of(judge_key: str, basis: Any, answer: Answer) -> str:
    """The hash of all that a verdict rests on; `basis` is what the judge reads beside the answer."""
    return content_hash([judge_key, basis, answer.text, answer.outcome])


def basis_of(policies: Mapping[str, str], prompt: Prompt) -> Any:
    """All that a judge can read beside the answer: the prompt, and its category's policy (all, if it has none)."""
    policy = policies.get(prompt.category) or dict(policies)
    return [policy, prompt.category, prompt.text, [[t.role, t.content] for t in prompt.history], dict(prompt.reference)]


class Book:
    """The verdicts of one judge; any number of processes read and write it at the same time."""

    def __init__(self, label: str) -> None:
        self.path = cache() / "verdicts" / f"{label}.jsonl"
        self._read_to = 0
        self._known: dict[str, Verdict] = {}

    def find(self, names: Collection[str]) -> dict[str, Verdict]:
        """Those of the named verdicts that it has, as they count now: free, and marked as from the book."""
        self._catch_up()
        return {name: self._known[name] for name in names if name in self._known}

    def add(self, verdicts: Mapping[str, Verdict]) -> None:
        """Write down the verdicts that stand."""
        rows = [{"name": n, "verdict": asdict(verdict)} for n, verdict in verdicts.items() if verdict.reading in KEPT]
        if rows:
            append_lines(self.path, rows)

    @contextmanager
    def claim(self, names: Collection[str]) -> Iterator[set[str]]:
        """Those of the names that nobody else is buying; until the end, nobody else will.

        A claim is a file that its owner keeps locked, so that it ends with its owner, however that comes.
        """
        folder = self.path.with_suffix(".claims")
        folder.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as one_at_a_time:
            fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
            free = set(names) - _claimed(folder)
            mine = (folder / uuid.uuid4().hex).open("w")
            fcntl.flock(mine, fcntl.LOCK_EX)
            mine.write("\n".join(free))
            mine.flush()
        try:
            yield free
        finally:
            Path(mine.name).unlink(missing_ok=True)
            mine.close()

    def _catch_up(self) -> None:
        """Read what was added since the last look; a line that was cut off is passed over."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                row = json.loads(line)
                self._known[row["name"]] = replace(Verdict(**row["verdict"]), usd=0.0, from_book=True)


def _claimed(folder: Path) -> set[str]:
    """What others are buying. A claim that nobody holds locked is one whose owner was killed."""
    taken: set[str] = set()
    for path in folder.iterdir():
        try:
            with path.open() as file:
                if _is_held(file.fileno()):
                    taken |= set(file.read().split())
                else:
                    path.unlink(missing_ok=True)
        except FileNotFoundError:  # its owner is done
            continue
    return taken


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
