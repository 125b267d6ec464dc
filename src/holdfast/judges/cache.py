"""The verdict book: what a judge was paid for once, on this machine, is never bought again.

HOLDFAST_CACHE (or ~/.cache/holdfast)/verdicts/
<kind>-<key>.jsonl     a verdict a line, under the hash of all that it rests on; lines are only ever added
<kind>-<key>.claims/   what is being bought at this moment: for each buyer a list, and a lock that it holds
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Generator as Stream
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from holdfast.core.config import label
from holdfast.core.files import cache
from holdfast.core.jsonl import Tail, append_lines
from holdfast.core.protocols import Judge, Ledger
from holdfast.core.types import READINGS, Answer, Prompt, Verdict, content_hash

KEPT = tuple(reading for reading in READINGS if reading != "judge_error")
"""Readings that stand. Where the judge failed, it is asked again."""


def name_of(judge_key: str, basis: Any, answer: Answer) -> str:
    """The hash of all that a verdict rests on; `basis` is what the judge reads beside the answer."""
    return content_hash([judge_key, basis, answer.text, answer.outcome])


LOOK_AGAIN = 0.2
"""Seconds between two looks at what somebody else is buying."""


class Book:
    """The verdicts of one judge; any number of processes read and write it at the same time."""

    def __init__(self, label: str) -> None:
        self.path = cache() / "verdicts" / f"{label}.jsonl"
        self._tail = Tail(self.path)
        self._known: dict[str, Verdict] = {}

    def find(self, names: Collection[str]) -> dict[str, Verdict]:
        """Those of the named verdicts that it has, as they count now: free, and marked as from the book."""
        self._catch_up()
        return {name: self._known[name] for name in names if name in self._known}

    def add(self, verdicts: Mapping[str, Verdict]) -> None:
        """Write down the verdicts that stand."""
        rows = [{"name": n, "verdict": asdict(verdict)} for n, verdict in verdicts.items() if verdict.reading in KEPT]
        if rows:
            with self._exclusive():
                append_lines(self.path, rows)

    @contextmanager
    def claim(self, names: Collection[str]) -> Iterator[set[str]]:
        """Those of the names that nobody else is buying; until the end, nobody else will.

        The owner of a claim holds a lock, so that the claim ends with its owner, however that comes.
        """
        folder = self.path.with_suffix(".claims")
        folder.mkdir(parents=True, exist_ok=True)
        claim = folder / f"{uuid.uuid4().hex}.claim"
        lock = FileLock(claim.with_suffix(".lock"), thread_local=False)
        with self._exclusive():
            free = set(names) - _claimed(folder)
            lock.acquire()
            claim.write_text("\n".join(free), encoding="utf-8")
        try:
            yield free
        finally:
            _end(claim, lock)

    def _exclusive(self) -> AbstractContextManager[object]:
        return FileLock(self.path.with_suffix(".lock")).acquire(poll_interval=0.005)

    def _catch_up(self) -> None:
        for row in self._tail.rows():
            self._known[row["name"]] = replace(Verdict(**row["verdict"]), usd=0.0, from_book=True)


def _claimed(folder: Path) -> set[str]:
    """What others are buying. A claim whose lock nobody holds is one whose owner was killed."""
    taken: set[str] = set()
    for claim in folder.glob("*.claim"):
        lock = FileLock(claim.with_suffix(".lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            with suppress(OSError):  # its owner has just ended it
                taken |= set(claim.read_text(encoding="utf-8").split())
        else:
            _end(claim, lock)
    return taken


def _end(claim: Path, lock: FileLock) -> None:
    """Delete a claim. Windows deletes no file that somebody reads; whoever looks next deletes it then."""
    with suppress(OSError):
        claim.unlink()
    lock.release()
    with suppress(OSError):
        Path(lock.lock_file).unlink()


def verdicts(
    judge: Judge,
    policies: Mapping[str, str],
    pairs: Sequence[tuple[Prompt, Answer]],
    ledger: Ledger,
    fresh: bool = False,
    models: Sequence[str] = (),
) -> Stream[list[Verdict], None, None]:
    """One verdict for each pair, as `Judge.judge` gives them; those that cost something only where the book has none.

    What is bought is written into the book before it is handed out. `fresh` buys everything again. Where `models` are
    known, which the server reports behind the judge's name now, verdicts of others are bought again.
    """
    if not judge.paid:
        with closing(judge.judge(policies, pairs, ledger)) as read:
            yield from read
        return
    book, wanted = Book(label(judge)), dict[str, list[tuple[Prompt, Answer]]]()
    for prompt, answer in pairs:
        wanted.setdefault(name_of(judge.key, judge.basis(policies, prompt), answer), []).append((prompt, answer))
    while wanted:
        with book.claim(wanted) as free:
            for name, verdict in ({} if fresh else book.find(wanted)).items():
                if not models or verdict.model in models:
                    yield [replace(verdict, prompt_id=prompt.id) for prompt, _ in wanted.pop(name)]
            mine = {name: wanted.pop(name) for name in list(wanted) if name in free or fresh}
            if mine:
                yield from _bought(judge, policies, mine, ledger, book)
        if wanted:  # somebody else is buying these
            time.sleep(LOOK_AGAIN)
            yield []


def _bought(
    judge: Judge,
    policies: Mapping[str, str],
    wanted: Mapping[str, Sequence[tuple[Prompt, Answer]]],
    ledger: Ledger,
    book: Book,
) -> Iterator[list[Verdict]]:
    """Verdicts on the first pair of each name, and the same for the others."""
    names = {pairs[0][0].id: name for name, pairs in wanted.items()}
    with closing(judge.judge(policies, [pairs[0] for pairs in wanted.values()], ledger)) as read:
        for bought in read:
            book.add({names[verdict.prompt_id]: verdict for verdict in bought})
            for verdict in bought:
                others = wanted[names[verdict.prompt_id]][1:]
                again = replace(verdict, usd=0.0, from_book=True)
                yield [verdict, *(replace(again, prompt_id=prompt.id) for prompt, _ in others)]
