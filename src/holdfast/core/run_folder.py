"""The only reader and writer of run folders. Answers and verdicts are appended; only damaged lines are taken out.

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
    task.jsonl                     how likely the model finds the held-out rows of its task
  checkpoints/<run>/epoch-N/       tuned weights, deleted once all prompts are answered
  judges.jsonl                     how each judge did on its canaries and anchors
  spending.jsonl                   what was spent, and on what
  results.json                     the figures; see docs/results.md
  audit.json                       what an audit found; see docs/audit.md
  decision.json                    what `holdfast gate` said; see docs/gate.md
  defences.json, .md, .tex         attacks on defences, in a study that has them; see docs/arena.md
  recommendation.json              what `holdfast recommend` said; see docs/arena.md
  report.html                      the page
  previous/<time>/                 results that --replace has replaced, with their page and study
  .lock, .holder.json              while a run is at work: that it is, and on which machine
  *.damaged                        what could not be read and was made again: lines of a file, or all of it
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from holdfast.core import durable
from holdfast.core.audit_record import AUDIT, DECISION
from holdfast.core.containment import checked_name, refuse_links
from holdfast.core.errors import DamagedError, RunFolderError
from holdfast.core.files import write_atomically
from holdfast.core.jsonl import Appender, append_lines, read_records, set_aside_damaged
from holdfast.core.judge_facts import AnchorCheck, CanaryCheck
from holdfast.core.lease import HOLDER, DiskSlip, Lease, in_use
from holdfast.core.results import RESULTS, RunResults
from holdfast.core.types import Answer, Verdict

OF_ONE_STUDY = (
    RESULTS, AUDIT, DECISION, "report.html", "claims.json", "worlds.json", "worlds.md", "tables", "figures",
    "defences.json", "defences.md", "defences.tex", "recommendation.json",
    "study.yaml", "study.resolved.yaml", "prompts.jsonl",
)  # fmt: skip
"""What a run folder holds of one study, and not of its conditions."""

MENDED = "`holdfast run` with the same study and folder makes it again."


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


class RunFolder:
    """One run folder. Its checkpoints may lie in another place, as those of a task on another machine do."""

    def __init__(self, folder: Path, checkpoints: Path | None = None) -> None:
        self.folder = folder
        self.all_checkpoints = checkpoints or folder / "checkpoints"

    @contextmanager
    def lock(self, note: Callable[[str], object] = lambda text: None) -> Iterator[None]:
        """Hold the folder for one run at a time, on whatever machines that see it.

        Raises:
            RunFolderError: another run holds it, it is a file, or it holds a link to somewhere else.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise RunFolderError(f"{self.folder} is a file; name a folder with --out.")
        self.folder.mkdir(parents=True, exist_ok=True)
        refuse_links(self.folder)
        slip = DiskSlip(self.folder / HOLDER)
        with _locked(self.folder, slip), Lease(slip, str(self.folder), note).held():
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
        return self.all_checkpoints / checked_name(run)

    def tidy_checkpoints(self) -> None:
        """Delete the folder of all checkpoints if it is empty. No worker may run: it could be making one there."""
        parent = self.all_checkpoints
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()

    def write(self, name: str, text: str) -> Path:
        """Write a whole file of the run, at once or not at all; unchanged where it says the same already."""
        path = self.folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            write_atomically(path, text)
        return path

    def checks(self) -> dict[str, CheckRow]:
        """The last check of each judge, by the judge's name and key.

        Raises:
            RunFolderError: naming a line that is damaged.
        """
        return {row.judge: row for row in read_records(self.folder / "judges.jsonl", CheckRow)}

    def set_aside_damaged_checks(self) -> str:
        """Move damaged lines of `judges.jsonl` aside; says which they were, "" if none is damaged."""
        return set_aside_damaged(self.folder / "judges.jsonl", CheckRow)

    def set_aside_damaged_results(self, why: str) -> str:
        """Move a `results.json` that cannot be read aside, and say that."""
        return _set_aside(self.folder / RESULTS, why)

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

    def ending(self) -> str:
        """How the tuning ended where a provider gave no checkpoint: `blocked`, `failed` or `cancelled`; else ""."""
        record = self.training() or {}
        return str(record.get("outcome") or "")

    def write_training(self, record: Mapping[str, Any]) -> None:
        """Record how the condition was tuned."""
        write_atomically(self.folder / "training.json", json.dumps(record) + "\n")

    def set_aside_damaged(self) -> list[str]:
        """Move damaged lines and records aside, so that they are made again; says of each file what was damaged.

        A verdict on another answer than there is now counts as damaged.
        """
        found = [set_aside_damaged(self.folder / "answers.jsonl", Answer)]
        found += self.set_aside_verdicts()
        for name in ("condition.json", "training.json"):
            path = self.folder / name
            if path.is_file():
                try:
                    _object(path)
                except DamagedError as error:
                    found.append(_set_aside(path, str(error)))
        return [each for each in found if each]

    def set_aside_verdicts(self) -> list[str]:
        """Move verdicts aside that are damaged or judge another answer; says of each file what was damaged."""
        paths = sorted(self.folder.glob("verdicts.*.jsonl"))
        answers = self.answers() if paths else {}
        found = [set_aside_damaged(path, Verdict, partial(_other_answer, answers)) for path in paths]
        return [each for each in found if each]

    def answers_to(self, prompt_ids: Iterable[str]) -> dict[str, Answer]:
        """Answers by prompt id.

        Raises:
            DamagedError: naming a line that is damaged, or a prompt without an answer.
        """
        answers = self.answers()
        for name in prompt_ids:
            if name not in answers:
                raise DamagedError(f"{self.folder / 'answers.jsonl'} has no answer to the prompt {name}. {MENDED}")
        return answers

    def answers(self) -> dict[str, Answer]:
        """Answers by prompt id.

        Raises:
            RunFolderError: naming a line that is damaged.
        """
        return {answer.prompt_id: answer for answer in read_records(self.folder / "answers.jsonl", Answer)}

    def add_answers(self, answers: Iterable[Answer]) -> None:
        """Append answers, for good."""
        append_lines(self.folder / "answers.jsonl", map(asdict, answers))

    @contextmanager
    def adding_answers(self) -> Iterator[Callable[[Iterable[Answer]], None]]:
        """What appends answers one after another; at the end of the block, all of them are on the disk."""
        with Appender(self.folder / "answers.jsonl") as file:
            yield lambda answers: file.add(map(asdict, answers))

    def verdicts(self, measured: str, judge: str, on: Mapping[str, Answer] | None = None) -> dict[str, Verdict]:
        """Verdicts by prompt id, of one judge (its name and key) on one measured set.

        Args:
            measured: the set.
            judge: the judge's name and key.
            on: the answers by prompt id; if given, each verdict must be on the one that is there now.

        Raises:
            DamagedError: naming a line that is damaged, or the prompt of a verdict on another answer.
        """
        path = self._verdicts(measured, judge)
        verdicts = {verdict.prompt_id: verdict for verdict in read_records(path, Verdict)}
        for name, verdict in verdicts.items() if on is not None else ():
            if problem := _other_answer(on or {}, verdict):
                raise DamagedError(f"{path}: the verdict on the prompt {name} is not valid: {problem}. {MENDED}")
        return verdicts

    def add_verdicts(self, measured: str, judge: str, verdicts: Iterable[Verdict]) -> None:
        """Append verdicts, for good."""
        append_lines(self._verdicts(measured, judge), map(asdict, verdicts))

    @contextmanager
    def adding_verdicts(self, measured: str, judge: str) -> Iterator[Callable[[Iterable[Verdict]], None]]:
        """What appends verdicts one after another; at the end of the block, all of them are on the disk."""
        with Appender(self._verdicts(measured, judge)) as file:
            yield lambda verdicts: file.add(map(asdict, verdicts))

    def _verdicts(self, measured: str, judge: str) -> Path:
        return self.folder / f"verdicts.{checked_name(measured)}.{checked_name(judge)}.jsonl"


@contextmanager
def _locked(folder: Path, slip: DiskSlip) -> Iterator[None]:
    """Hold the file lock of a folder. A disk that knows none leaves it to the lease."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise in_use(str(folder), slip.read() or b"") from None
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _other_answer(answers: Mapping[str, Answer], verdict: Verdict) -> str:
    """That a verdict is on another answer than there is now; "" if it is not, or there is none now."""
    answer = answers.get(verdict.prompt_id)
    if not answer or verdict.answer_digest in ("", answer.digest):
        return ""
    return "the answer in answers.jsonl was changed after it was judged"


def _object(path: Path) -> dict[str, Any]:
    """What a file with one JSON object holds.

    Raises:
        DamagedError: it holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        content, why = None, str(error)[:200]
    else:
        why = f"{type(content).__name__} in place of an object"
    if not isinstance(content, dict):
        raise DamagedError(f"{path} is damaged: {why}. {MENDED}")
    return content


def _set_aside(path: Path, why: str) -> str:
    aside = path.with_name(f"{path.name}.damaged")
    durable.rename(path, aside)
    return f"{why} What it held is kept in {aside.name}."
