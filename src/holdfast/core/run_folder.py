"""The only reader and writer of run folders. Answers and verdicts are appended and never rewritten.

runs/demo/
  study.yaml                       the study as it was given
  study.resolved.yaml              the same with every setting in its place, and the run's seeds
  prompts.jsonl                    every prompt that is asked
  conditions/<key>/
    condition.json                 everything that determines the condition; the key is its hash
    training.json                  the training record
    answers.jsonl                  one answer a line
    verdicts.<set>.<judge>.jsonl   one verdict a line
    likelihood.jsonl               how likely the base finds each answer, in an audit
  checkpoints/<run>/epoch-N/       tuned weights, deleted once all prompts are answered
  judges.jsonl                     how each judge did on its canaries and anchors
  spending.jsonl                   what was spent, and on what
  results.json                     the figures; see docs/results.md
  audit.json                       what an audit found; see docs/audit.md
  decision.json                    what `holdfast gate` said; see docs/gate.md
  report.html                      the page
  previous/<time>/                 results that --replace has replaced, with their page and study
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from holdfast.core.audit_record import AUDIT, DECISION
from holdfast.core.containment import checked_name, refuse_links
from holdfast.core.errors import RunFolderError
from holdfast.core.files import write_atomically
from holdfast.core.jsonl import append_lines, read_records
from holdfast.core.results import OF_A_RUN, RESULTS, AnchorCheck, CanaryCheck, RunResults
from holdfast.core.types import Answer, Verdict

OF_ONE_STUDY = (
    RESULTS, AUDIT, DECISION, "report.html", "claims.json", "tables", "figures",
    "study.yaml", "study.resolved.yaml", "prompts.jsonl",
)  # fmt: skip
"""What a run folder holds of one study, and not of its conditions."""


@dataclass(frozen=True)
class PromptRow:
    """A line of `prompts.jsonl`."""

    set: str
    id: str
    category: str
    prompt: str


@dataclass(frozen=True)
class CheckRow:
    """A line of `judges.jsonl`."""

    judge: str
    canaries: CanaryCheck | None
    anchors: AnchorCheck
    models: list[str]


@dataclass(frozen=True)
class FluencyRow:
    """A line of `likelihood.jsonl`."""

    prompt_id: str
    fluency: float
    """Mean log-likelihood of a token under the base, in nats, without the first tokens."""


class RunFolder:
    """One run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one run at a time.

        Raises:
            RunFolderError: another run holds it, it is a file, or it holds a link to somewhere else.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise RunFolderError(f"{self.folder} is a file; name a folder with --out.")
        self.folder.mkdir(parents=True, exist_ok=True)
        refuse_links(self.folder, OF_A_RUN)
        try:
            lock = FileLock(self.folder / ".lock").acquire(blocking=False)
        except Timeout:
            raise RunFolderError(
                f"another run is at work in {self.folder}. Wait for it, or name another folder with --out."
            ) from None
        with lock:
            yield

    def set_aside(self) -> Path:
        """Move the results, and all that was made from them, to a folder in `previous/`, and return that folder.

        Answers and verdicts stay: they belong to their conditions, whatever study names these.
        """
        written = datetime.fromtimestamp((self.folder / RESULTS).stat().st_mtime)
        target = self.folder / "previous" / f"{written:%Y-%m-%dT%H-%M-%S.%f}"
        target.mkdir(parents=True)
        for name in OF_ONE_STUDY:
            if (self.folder / name).exists():
                (self.folder / name).rename(target / name)
        return target

    def condition(self, key: str) -> ConditionFolder:
        """The folder of one condition.

        Raises:
            RunFolderError: the key, which may come from somebody else's file, would lead to another folder.
        """
        return ConditionFolder(self.folder / "conditions" / checked_name(key))

    def checkpoints(self, run: str) -> Path:
        """The folder of one training run's checkpoints.

        Raises:
            RunFolderError: the name would lead to another folder.
        """
        return self.folder / "checkpoints" / checked_name(run)

    def discard_checkpoints(self, run: str) -> None:
        """Delete a training run's checkpoints."""
        shutil.rmtree(self.checkpoints(run), ignore_errors=True)
        parent = self.folder / "checkpoints"
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()

    def write(self, name: str, text: str) -> Path:
        """Write a whole file of the run, at once or not at all; unchanged where it says the same already."""
        path = self.folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)
        return path

    def checks(self) -> dict[str, CheckRow]:
        """The last check of each judge, by the judge's name and key.

        Raises:
            RunFolderError: naming a line that is damaged.
        """
        return {row.judge: row for row in read_records(self.folder / "judges.jsonl", CheckRow)}

    def add_check(self, check: Mapping[str, Any]) -> None:
        """Record how a judge did on its canaries and anchors."""
        append_lines(self.folder / "judges.jsonl", [check])

    def prompts(self) -> list[dict[str, str]]:
        """The prompts that were asked, as `prompts.jsonl` holds them.

        Raises:
            RunFolderError: naming a line that is damaged.
        """
        return [vars(row) for row in read_records(self.folder / "prompts.jsonl", PromptRow)]

    def has_results(self) -> bool:
        """Whether figures were written."""
        return (self.folder / RESULTS).is_file()

    def results(self) -> RunResults:
        """What `results.json` holds.

        Raises:
            RunFolderError: the folder has none, one that this version cannot read, or a link to somewhere else.
        """
        return RunResults.read(self.folder)


class ConditionFolder:
    """What is known of one condition."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_condition(self, condition: Mapping[str, Any]) -> None:
        """Record what determines the condition, once."""
        path = self.folder / "condition.json"
        if not path.is_file():
            write_atomically(path, json.dumps(condition, indent=2, ensure_ascii=False) + "\n")

    def condition(self) -> dict[str, Any]:
        """What determines the condition."""
        return _object(self.folder / "condition.json")

    def training(self) -> dict[str, Any] | None:
        """The training record, if the condition was tuned."""
        path = self.folder / "training.json"
        if not path.is_file():
            return None
        return _object(path)

    def write_training(self, record: Mapping[str, Any]) -> None:
        """Record how the condition was tuned."""
        write_atomically(self.folder / "training.json", json.dumps(record) + "\n")

    def answers(self) -> dict[str, Answer]:
        """Answers by prompt id.

        Raises:
            RunFolderError: naming a line that is damaged.
        """
        return {answer.prompt_id: answer for answer in read_records(self.folder / "answers.jsonl", Answer)}

    def add_answers(self, answers: Iterable[Answer]) -> None:
        """Append answers."""
        append_lines(self.folder / "answers.jsonl", map(asdict, answers))

    def verdicts(self, measured: str, judge: str) -> dict[str, Verdict]:
        """Verdicts by prompt id, of one judge (its name and key) on one measured set.

        Raises:
            RunFolderError: naming a line that is damaged.
        """
        return {verdict.prompt_id: verdict for verdict in read_records(self._verdicts(measured, judge), Verdict)}

    def add_verdicts(self, measured: str, judge: str, verdicts: Iterable[Verdict]) -> None:
        """Append verdicts."""
        append_lines(self._verdicts(measured, judge), map(asdict, verdicts))

    def fluencies(self) -> dict[str, float]:
        """Prompt id → how likely the base finds the answer, for those of which it is known.

        Raises:
            RunFolderError: naming a line that is damaged.
        """
        return {row.prompt_id: row.fluency for row in read_records(self.folder / "likelihood.jsonl", FluencyRow)}

    def add_fluencies(self, by_prompt: Mapping[str, float]) -> None:
        """Append how likely the base finds answers."""
        append_lines(self.folder / "likelihood.jsonl", [asdict(FluencyRow(*item)) for item in by_prompt.items()])

    def _verdicts(self, measured: str, judge: str) -> Path:
        return self.folder / f"verdicts.{checked_name(measured)}.{checked_name(judge)}.jsonl"


def _object(path: Path) -> dict[str, Any]:
    """What a file with one JSON object holds.

    Raises:
        RunFolderError: it is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        content, why = None, str(error)[:200]
    else:
        why = f"{type(content).__name__} in place of an object"
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is damaged: {why}. Delete it, and run the study again.")
    return content
