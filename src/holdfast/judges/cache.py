"""The verdict cache: what a judge was paid for once is never paid for again on this machine.

HOLDFAST_CACHE (or ~/.cache/holdfast)/verdicts/, which nobody but the user can read or write
<kind>-<key>.jsonl     a verdict a line, under the hash of all that it rests on; lines are only ever added
<kind>-<key>.claims/   what is being bought at this moment: for each buyer a list, and a lock that it holds

A verdict that somebody else is buying is waited for, and not bought a second time.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Generator as Stream
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from holdfast.core.config import label
from holdfast.core.files import private_cache
from holdfast.core.jsonl import Tail, append_lines
from holdfast.core.protocols import Budget, Judge
from holdfast.core.types import READINGS, Answer, Prompt, Verdict, content_hash

CACHED = tuple(reading for reading in READINGS if reading != "judge_error")
"""Readings that are kept. Where the judge failed, it is asked again."""

LOOK_AGAIN = 0.2
"""Seconds between two looks at what somebody else is buying."""


def hash_of(judge_key: str, basis: Any, answer: Answer) -> str:
    """The hash of all that a verdict rests on; `basis` is what the judge reads beside the answer."""
    return content_hash([judge_key, basis, answer.text, answer.outcome])


class VerdictCache:
    """The verdicts of one judge by their hash; any number of processes read and write them at the same time."""

    def __init__(self, label: str) -> None:
        self.path = private_cache("verdicts") / f"{label}.jsonl"
        self._tail = Tail(self.path)
        self._verdicts: dict[str, Verdict] = {}

    def find(self, hashes: Collection[str]) -> dict[str, Verdict]:
        """Those of the verdicts that are here. They cost nothing now, and are marked as `from_cache`.

        A line that holds no verdict, or one of a kind that is not kept, is passed over: it is bought again.
        """
        for row in self._tail.rows():
            name = row.get("name") if row else None
            if row and isinstance(name, str) and (verdict := _verdict_of(row.get("verdict"))):
                self._verdicts[name] = replace(verdict, usd=0.0, from_cache=True)
        return {each: self._verdicts[each] for each in hashes if each in self._verdicts}

    def add(self, verdicts: Mapping[str, Verdict]) -> None:
        """Keep verdicts, except where the judge failed."""
        rows = [{"name": h, "verdict": asdict(verdict)} for h, verdict in verdicts.items() if verdict.reading in CACHED]
        if rows:
            with self._exclusive():
                append_lines(self.path, rows)

    @contextmanager
    def claim(self, hashes: Collection[str]) -> Iterator[set[str]]:
        """Those of the verdicts that nobody else is buying. Until the end of the block, nobody else will.

        The owner of a claim holds a lock, so that the claim ends with its owner, however that comes.
        """
        folder = self.path.with_suffix(".claims")
        folder.mkdir(parents=True, exist_ok=True)
        claim = folder / f"{uuid.uuid4().hex}.claim"
        lock = FileLock(claim.with_suffix(".lock"), thread_local=False)
        with self._exclusive():
            free = set(hashes) - _claimed(folder)
            lock.acquire()
            claim.write_text("\n".join(free), encoding="utf-8")
        try:
            yield free
        finally:
            _end(claim, lock)

    def _exclusive(self) -> AbstractContextManager[object]:
        return FileLock(self.path.with_suffix(".lock")).acquire(poll_interval=0.005)


def _verdict_of(value: Any) -> Verdict | None:
    """The verdict that a line of the cache holds, or None. Types are strict: a score of `true` or "5" is none."""
    from pydantic import ValidationError

    try:
        verdict: Verdict = _reader().validate_json(json.dumps(value), strict=True)
    except (ValidationError, ValueError):
        return None
    return verdict if verdict.reading in CACHED else None


@lru_cache(maxsize=1)
def _reader() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Verdict)


def _claimed(folder: Path) -> set[str]:
    """What others are buying. A claim whose lock nobody holds is one whose owner was killed."""
    claimed: set[str] = set()
    for claim in folder.glob("*.claim"):
        lock = FileLock(claim.with_suffix(".lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            with suppress(OSError):  # its owner has just ended it
                claimed |= set(claim.read_text(encoding="utf-8").split())
        else:
            _end(claim, lock)
    return claimed


def _end(claim: Path, lock: FileLock) -> None:
    """Delete a claim. Windows deletes no file that somebody reads; whoever looks next deletes it then."""
    with suppress(OSError):
        claim.unlink()
    lock.release()
    with suppress(OSError):
        Path(lock.lock_file).unlink()


Pairs = Sequence[tuple[Prompt, Answer]]
"""Prompts and the answers to them."""


def verdicts(
    judge: Judge, policies: Mapping[str, str], pairs: Pairs, budget: Budget, fresh: bool = False,
    models: Sequence[str] = (),
) -> Stream[list[Verdict], None, None]:  # fmt: skip
    """One verdict for each pair, as `Judge.judge` gives them. A paid judge is asked only for those not in the cache.

    What is bought is kept before it is handed out. `fresh` buys everything again. `models` are the names that the
    server reports for the judge's model today: verdicts of other models are bought again.
    """
    if not judge.paid:
        with closing(judge.judge(policies, pairs, budget)) as stream:
            yield from stream
        return
    run_folder, waiting = VerdictCache(label(judge)), _by_hash(judge, policies, pairs)
    while waiting:
        with run_folder.claim(waiting) as free:
            for each, verdict in ({} if fresh else run_folder.find(waiting)).items():
                if not models or verdict.model in models:
                    yield [replace(verdict, prompt_id=prompt.id) for prompt, _ in waiting.pop(each)]
            to_buy = {each: waiting.pop(each) for each in list(waiting) if each in free or fresh}
            if to_buy:
                yield from _buy(judge, policies, to_buy, budget, run_folder)
        if waiting:  # somebody else is buying these
            time.sleep(LOOK_AGAIN)
            yield []


def _by_hash(judge: Judge, policies: Mapping[str, str], pairs: Pairs) -> dict[str, list[tuple[Prompt, Answer]]]:
    """Pairs by the hash of their verdict; several prompts with equal answers can share one."""
    waiting: dict[str, list[tuple[Prompt, Answer]]] = {}
    for prompt, answer in pairs:
        each = hash_of(judge.key, judge.basis(policies, prompt), answer)
        waiting.setdefault(each, []).append((prompt, answer))
    return waiting


def _buy(
    judge: Judge, policies: Mapping[str, str], to_buy: Mapping[str, Pairs], budget: Budget, run_folder: VerdictCache
) -> Iterator[list[Verdict]]:  # fmt: skip
    """The judge's verdict on the first pair of each hash, which is handed out for the other pairs as well."""
    hashes = {pairs[0][0].id: each for each, pairs in to_buy.items()}
    with closing(judge.judge(policies, [pairs[0] for pairs in to_buy.values()], budget)) as stream:
        for bought in stream:
            run_folder.add({hashes[verdict.prompt_id]: verdict for verdict in bought})
            for verdict in bought:
                others = to_buy[hashes[verdict.prompt_id]][1:]
                free_copy = replace(verdict, usd=0.0, from_cache=True)
                yield [verdict, *(replace(free_copy, prompt_id=prompt.id) for prompt, _ in others)]
