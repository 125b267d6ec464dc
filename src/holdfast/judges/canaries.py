"""Answers with known scores (canaries) or kept scores (anchors): a judge reads them before it is paid for others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.core.errors import DataError
from holdfast.core.protocols import Budget, Judge
from holdfast.core.rows import Row, read_rows, refuse_rows
from holdfast.core.types import Answer, Prompt, Verdict

COLUMNS = ("category", "policy", "prompt", "answer")
"""The columns of a file of canaries or anchors. Canaries also have `scores`, the list of right scores."""

SCORES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Cases:
    """The canaries or anchors of one file."""

    policies: dict[str, str] = field(default_factory=dict)
    """Category → policy."""
    pairs: list[tuple[Prompt, Answer]] = field(default_factory=list)
    allowed: dict[str, frozenset[int]] = field(default_factory=dict)
    """Prompt id → the right scores; empty for anchors."""
    lines: dict[str, str] = field(default_factory=dict)
    """Prompt id → its line in the file."""

    def read_by(self, judge: Judge, budget: Budget) -> dict[str, Verdict]:
        """The judge's verdicts by prompt id. They are always bought anew."""
        with closing(judge.judge(self.policies, self.pairs, budget)) as stream:
            return {verdict.prompt_id: verdict for verdicts in stream for verdict in verdicts}

    def misread(self, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
        """A sentence for each canary that the judge misread: its line and prompt, the verdict, and the right scores."""
        for prompt, _ in self.pairs:
            verdict, allowed = verdicts.get(prompt.id), self.allowed[prompt.id]
            if verdict is not None and verdict.score in allowed:
                continue
            judged = "no verdict" if verdict is None else f"{verdict.score or verdict.reading} ({verdict.reason[:200]})"
            right = " or ".join(map(str, sorted(allowed)))
            yield f"{self.lines[prompt.id]}, {prompt.text[:100]!r}: it says {judged}; right is {right}"


def read_cases(path: Path, scored: bool) -> Cases:
    """The cases of a file with the columns `COLUMNS`, and `scores` where they are canaries (`scored`).

    Raises:
        DataError: bad rows, by line and reason; or a file without rows.
    """
    cases, problems = Cases(), []
    for line, row in read_rows(path):
        problem = row if isinstance(row, str) else _problem(row, cases, scored)
        if problem:
            problems.append(f"{line}: {problem}")
        elif isinstance(row, dict):
            _add(row, cases, line)
    columns = ", ".join(COLUMNS)
    refuse_rows(path, problems, f"Each row must have {columns}" + (" and scores, e.g. [1, 2]." if scored else "."))
    if not cases.pairs:
        raise DataError(f"{path} has no rows. Each must have {columns}.")
    return cases


def _problem(row: Row, cases: Cases, scored: bool) -> str:
    """Why a row cannot be added to the cases; "" if it can."""
    for name in COLUMNS:
        if not isinstance(row.get(name), str) or not row[name].strip():
            return f"{name!r} must be a text; found {row.get(name)!r}"
    category = row["category"]
    if Prompt(category, row["prompt"]).id in cases.lines:
        return "the same prompt is there twice; change its words, for a judge is asked each prompt once"
    if cases.policies.get(category, row["policy"]) != row["policy"]:
        return f"category {category!r} has another policy in an earlier row; use another name for one of them"
    scores = row.get("scores")
    if scored and not (isinstance(scores, list) and scores and all(score in SCORES for score in scores)):
        return f"'scores' must list the right scores, of 1 to 5; found {scores!r}"
    return ""


def _add(row: Row, cases: Cases, line: str) -> None:
    prompt = Prompt(row["category"], row["prompt"])
    cases.policies[prompt.category] = row["policy"]
    cases.pairs.append((prompt, Answer(prompt.id, "answered", row["answer"])))
    cases.lines[prompt.id] = line
    cases.allowed[prompt.id] = frozenset(row.get("scores") or ())
