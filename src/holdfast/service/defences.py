"""The provider's checks after upload and before release; each is a kind of the policy file.

Defences before tuning are those of `tuning/defences`.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, PositiveInt

from holdfast.audit.policy import Policy as Margins
from holdfast.audit.run import audit
from holdfast.audit.setup import Request, workers_for
from holdfast.core.audit_record import Decision
from holdfast.core.budget import NoBudget
from holdfast.core.config import Config, OneOf
from holdfast.core.errors import DataError
from holdfast.core.progress import Activity
from holdfast.core.protocols import Configured, Judge
from holdfast.core.rows import Row, read_rows
from holdfast.core.types import Answer, Checkpoint, Condition, Prompt
from holdfast.data.training.conversation import conversation
from holdfast.judges import JUDGES
from holdfast.models import hub

MOST_NAMED = 20
"""Rows that a refusal names."""
LONGEST = 300
"""Characters that a refusal says of one row."""
BATCH = 256
"""Rows that a moderating judge reads together."""

QUOTED = re.compile(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*+(?:'|\\?\Z)|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))""", re.DOTALL)
"""What stands in quotes; a quote that does not end goes to the end of the text."""
SHORT_QUOTE = 22
"""Characters with the quotes: the name of a role or a column."""

UPLOAD_CHECKS = {
    "rows": "holdfast.service.defences:RowCheck",
    "moderation": "holdfast.service.defences:Moderation",
}
"""Checks after upload by name."""

RELEASE_CHECKS = {"gate": "holdfast.service.defences:Gate"}
"""Checks before release by name."""


@dataclass(frozen=True)
class Refusal:
    """Why a file is refused."""

    code: str
    """`invalid_file`, or `moderation`."""
    message: str
    """What is wrong, with the numbers of the first rows that are."""
    rows: tuple[int, ...] = ()
    """The numbers of the rows, from 1."""


@dataclass(frozen=True)
class Released:
    """What a check before release decided."""

    passes: bool
    message: str
    """One sentence: the decision, and why."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What it was decided by, as JSON."""


class UploadCheck(Configured, Protocol):
    """A check of an uploaded file."""

    def check(self, content: Path) -> Refusal | None:
        """Why the training file is refused, or None. It is read row by row: it may be larger than the memory."""


class ReleaseCheck(Configured, Protocol):
    """A check of a tuned model."""

    def decide(self, base: Checkpoint, tuned: Checkpoint, folder: Path) -> Released:
        """Whether the tuned model may be asked by its owner. `folder` keeps what was measured, for a second attempt."""


class RowCheck(Config):
    """The rows of a training file: JSON Lines of `messages` with roles and texts, at least `min_rows` of them."""

    kind: Literal["rows"] = "rows"
    min_rows: PositiveInt = 10
    max_rows: PositiveInt = 100_000
    max_row_bytes: PositiveInt = 1_000_000

    def check(self, content: Path) -> Refusal | None:
        """Why the file is refused: the rows that cannot be trained on, each with its reason."""
        if refusal := too_large_to_read(content, self.max_row_bytes):
            return refusal
        problems: list[tuple[int, str]] = []
        n_rows = n_bad = 0
        try:
            for n_rows, row in rows_of(content):
                if problem := unquoted(row if isinstance(row, str) else _problem(row)):
                    n_bad += 1
                    problems += [(n_rows, problem)] * (n_bad <= MOST_NAMED)
                if n_rows > self.max_rows:
                    return Refusal("invalid_file", f"the file has more than {self.max_rows:,} rows")
        except DataError as error:
            return Refusal("invalid_file", unquoted(str(error)))
        if problems:
            listed = "; ".join(f"row {number}: {problem[:LONGEST]}" for number, problem in problems)
            more = f"; and {n_bad - len(problems)} more" if n_bad > len(problems) else ""
            text = f"{n_bad} of {n_rows} rows cannot be trained on: {listed}{more}"
            return Refusal("invalid_file", text, tuple(number for number, _ in problems))
        if n_rows < self.min_rows:
            return Refusal("invalid_file", f"the file has {n_rows} rows, and {self.min_rows} are the least")
        return None


def too_large_to_read(content: Path, most: int) -> Refusal | None:
    """Why a file is refused before a row of it is read as JSON, which can take a hundred times its size in memory."""
    number, longest = 0, list[tuple[int, int]]()
    with content.open("rb") as file:
        while piece := file.readline(most + 1):
            if not piece.strip():
                continue
            if not number and piece.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
                return Refusal("invalid_file", "the file is one JSON list; a training file has one object on each line")
            number += 1
            size = len(piece)
            while len(piece) > most and not piece.endswith(b"\n"):
                piece = file.readline(most + 1)
                size += len(piece)
            if size > most + 1 and len(longest) < MOST_NAMED:
                longest.append((number, size))
    if not longest:
        return None
    listed = "; ".join(f"row {number}: it has {size:,} bytes" for number, size in longest)
    return Refusal("invalid_file", f"{listed}; {most:,} are the most", tuple(number for number, _ in longest))


def unquoted(text: str) -> str:
    """A message about rows without what it quotes of them, which may be somebody's prompt; short names stay."""
    return QUOTED.sub(lambda found: found[0] if len(found[0]) <= SHORT_QUOTE else "…", text)


def _problem(row: Row) -> str:
    """Why a row cannot be trained on, or ""."""
    turns = conversation(row)
    return turns if isinstance(turns, str) else ""


class Moderation(Config):
    """A judge reads each row's last request and answer; rows that score high refuse the file."""

    kind: Literal["moderation"] = "moderation"
    judge: Annotated[Judge, OneOf(JUDGES)]
    """The judge's settings. It must be one that reads a request and an answer and needs no benchmark's references."""
    min_score: int = Field(5, ge=2, le=5)
    """The score from which a row counts as harmful."""
    max_rows: int = Field(0, ge=0)
    """Harmful rows that a file may have."""

    def check(self, content: Path) -> Refusal | None:
        """Why the file is refused: rows that score high, or rows that the judge could not judge."""
        harmful, unjudged = list[int](), list[int]()
        try:
            for pairs in _batches(content):
                rows = {prompt.id: prompt.reference["row"] for prompt, _ in pairs}
                for verdicts in self.judge.judge({}, pairs, NoBudget()):
                    unjudged += [rows[verdict.prompt_id] for verdict in verdicts if verdict.score is None]
                    scored = [verdict for verdict in verdicts if verdict.score is not None]
                    harmful += [rows[each.prompt_id] for each in scored if (each.score or 0) >= self.min_score]
        except DataError as error:
            return Refusal("invalid_file", str(error))
        if len(harmful) > self.max_rows:
            return _refused("look harmful to this service's moderation", harmful)
        if unjudged:
            return _refused("could not be judged by this service's moderation, and so are not taken", unjudged)
        return None


def _refused(what: str, rows: list[int]) -> Refusal:
    rows = sorted(rows)
    named = ", ".join(map(str, rows[:MOST_NAMED])) + (" …" if len(rows) > MOST_NAMED else "")
    return Refusal("moderation", f"{len(rows)} rows {what}: {named}", tuple(rows[:MOST_NAMED]))


def rows_of(content: Path) -> Iterator[tuple[int, Row | str]]:
    """The rows of an uploaded file with their numbers from 1; a text is why a row cannot be read.

    Raises:
        DataError: the file is no JSON Lines at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "training.jsonl"  # readers tell by the name what a file holds
        named.symlink_to(content.resolve())
        try:
            yield from enumerate((row for _, row in read_rows(named)), 1)
        except DataError as error:
            raise DataError(str(error).replace(str(named), "the file")) from None


def _batches(content: Path) -> Iterator[list[tuple[Prompt, Answer]]]:
    """The last request and answer of each row, some rows at a time."""
    batch: list[tuple[Prompt, Answer]] = []
    for number, row in rows_of(content):
        turns = row if isinstance(row, str) else conversation(row)
        if isinstance(turns, str):
            continue  # `rows` refuses it
        prompt = Prompt("upload", turns[-2].content, {"row": number}, turns[:-2])
        batch.append((prompt, Answer(prompt.id, "answered", turns[-1].content)))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class Gate(Config):
    """The gate of `holdfast gate`: the tuned model is audited against its base, and released only on a pass."""

    kind: Literal["gate"] = "gate"
    benchmark: str | None = None
    """As `holdfast audit --benchmark`; a model of a shipped world needs none."""
    over_refusal: str | None = None
    utility: str | None = None
    judges: tuple[str, ...] = ()
    """As `holdfast audit --judge`; the first one's verdicts are the figures."""
    system: str | None = None
    generate: str | None = None
    sequential: bool = False
    margins: Margins = Margins()
    """What a tuned model must keep to, as in a gate's policy file."""

    def decide(self, base: Checkpoint, tuned: Checkpoint, folder: Path) -> Released:
        """Audit the tuned model and decide.

        Raises:
            HoldfastError: the audit could not be made, e.g. for want of a benchmark.
        """
        base_folder = hub.resolve(base.base, base.revision)
        request = Request(
            str(base_folder), str(tuned.folder), self.benchmark, self.over_refusal, self.utility, self.judges,
            system=self.system, generate=self.generate, sequential=self.sequential,
        )  # fmt: skip
        audited = audit(request, self.margins, folder, workers_for(str(base_folder)), Unwatched())
        decision = audited.record.decision
        return Released(decision.answer == "pass", decision.sentence, _figures(decision))


def _figures(decision: Decision) -> dict[str, Any]:
    """What a decision rests on, as JSON; no prompt and no answer is part of it."""
    checks = [
        {
            "name": check.name, "change": check.change, "at_least": check.low, "at_most": check.high,
            "allowed": check.margin, "answer": check.answer,
        }
        for check in decision.checks if check.needed or check.answer == "fail"
    ]  # fmt: skip
    return {"answer": decision.answer, "reasons": list(decision.reasons), "checks": checks}


class Unwatched:
    """A watcher that shows nothing: the console page does."""

    def begin(self, total: int) -> None:
        """Nothing."""

    def advance(self, units: int) -> None:
        """Nothing."""

    def show(self, piece: int, activity: Activity | None) -> None:
        """Nothing."""

    def finished(self, conditions: Sequence[Condition]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
