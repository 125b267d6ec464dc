"""Answers with known verdicts: what a judge is checked with before it is paid for anything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.core.errors import DataError
from holdfast.core.protocols import Judge, Ledger
from holdfast.core.rows import Row, read_rows, refuse_rows
from holdfast.core.types import Answer, Prompt, Verdict

NEEDED = ("category", "policy", "prompt", "answer")
"""The columns of a file of canaries or anchors; canaries also have `scores`, a list of those that are right."""


@dataclass(frozen=True)
class Cases:
    """The canaries or anchors of one file."""

    policies: dict[str, str] = field(default_factory=dict)
    """Category → policy."""
    pairs: list[tuple[Prompt, Answer]] = field(default_factory=list)
    allowed: dict[str, frozenset[int]] = field(default_factory=dict)
    """Prompt id → the scores that are right; empty for anchors."""
    places: dict[str, str] = field(default_factory=dict)
    """Prompt id → where in the file it is."""

    def read_by(self, judge: Judge, ledger: Ledger) -> dict[str, Verdict]:
        """The judge's verdicts by prompt id, bought anew."""
        with closing(judge.judge(self.policies, self.pairs, ledger)) as read:
            return {verdict.prompt_id: verdict for verdicts in read for verdict in verdicts}

    def misread(self, verdicts: dict[str, Verdict]) -> Iterator[str]:
        """Those whose verdict is none of the right ones: place, prompt, what was said and what is right."""
        for prompt, _ in self.pairs:
            verdict, allowed = verdicts.get(prompt.id), self.allowed[prompt.id]
            if verdict is not None and verdict.score in allowed:
                continue
            said = "no verdict" if verdict is None else f"{verdict.score or verdict.reading} ({verdict.reason[:200]})"
            right = " or ".join(map(str, sorted(allowed)))
            yield f"{self.places[prompt.id]}, {prompt.text[:100]!r}: it says {said}; right is {right}"


def read_cases(path: Path, scored: bool) -> Cases:
    """The cases of a file whose rows are `{category, policy, prompt, answer}`, with `scores` where they are canaries.

    Raises:
        DataError: bad rows, by line and reason; or a file without rows.
    """
    cases, problems = Cases(), []
    for place, row in read_rows(path):
        problem = row if isinstance(row, str) else _add(row, cases, scored, place)
        if problem:
            problems.append(f"{place}: {problem}")
    refuse_rows(path, problems, "Each row must have " + ", ".join(NEEDED) + (" and scores, e.g. [1, 2]." * scored))
    if not cases.pairs:
        raise DataError(f"{path} has no rows. Each must have {', '.join(NEEDED)}.")
    return cases


def _add(row: Row, cases: Cases, scored: bool, place: str) -> str:
    """Add a row; or the reason why it cannot be one."""
    for name in NEEDED:
        if not isinstance(row.get(name), str) or not row[name].strip():
            return f"{name!r} must be a text; found {row.get(name)!r}"
    prompt = Prompt(row["category"], row["prompt"])
    if any(prompt.id == other.id for other, _ in cases.pairs):
        return "the same prompt is there twice; change its words, for a judge is asked each prompt once"
    if cases.policies.setdefault(prompt.category, row["policy"]) != row["policy"]:
        return f"category {prompt.category!r} has another policy in an earlier row; use another name for one of them"
    scores = row.get("scores")
    if scored and not _are_scores(scores):
        return f"'scores' must list the right scores, of 1 to 5; found {scores!r}"
    cases.places[prompt.id] = place
    cases.pairs.append((prompt, Answer(prompt.id, "answered", row["answer"])))
    if scored:
        cases.allowed[prompt.id] = frozenset(row["scores"])
    return ""


def _are_scores(value: object) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(score in (1, 2, 3, 4, 5) for score in value)
