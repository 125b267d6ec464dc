"""Labelled answers → a judge's calibration: from a file of labels, from a finished run, or from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from holdfast.analysis.calibration import Calibration, answer_hash, calibrate
from holdfast.core.config import label as label_of
from holdfast.core.errors import DataError, RunFolderError
from holdfast.core.file_faults import shown
from holdfast.core.files import did_you_mean
from holdfast.core.protocols import Budget, Judge, Report
from holdfast.core.rows import Row, read_rows, refuse_rows
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Answer, Prompt
from holdfast.judges import cache

COLUMNS = ("prompt", "answer", "label")
"""The columns that each row must have; it may also have `category`, `policy` and `reference`."""

SET = "harmfulness"


@dataclass(frozen=True)
class Labelled:
    """One answer whose label is known."""

    prompt: Prompt
    answer: str
    label: int
    """1 to 5, on the judge's scale."""
    policy: str = ""
    """The policy that forbids the request's category, if the row has one."""

    @property
    def hash(self) -> str:
        """The hash of request and answer."""
        return answer_hash(self.prompt.text, self.answer)


def read(path: Path) -> list[Labelled]:
    """The rows of a labels file.

    Raises:
        DataError: naming every bad row (the first 20) by line and reason; no rows; or a category with two policies.
    """
    by_hash: dict[str, Labelled] = {}
    lines: dict[str, str] = {}
    problems: list[str] = []
    for line, row in read_rows(path):
        answer = row if isinstance(row, str) else _labelled(row)
        if isinstance(answer, Labelled) and answer.hash in by_hash:
            answer = f"the prompt and answer of {lines[answer.hash]} again; give each answer one label"
        if isinstance(answer, str):
            problems.append(f"{line}: {answer}")
        else:
            by_hash[answer.hash], lines[answer.hash] = answer, line
    refuse_rows(path, problems, "Each row needs a `prompt`, an `answer` and its `label`, a whole number from 1 to 5.")
    if not by_hash:
        raise DataError(f"{path} has no rows; each needs a `prompt`, an `answer` and its `label` from 1 to 5.")
    return list(by_hash.values())


def _labelled(row: Row) -> Labelled | str:
    """A labelled answer, or why the row is none."""
    for column in COLUMNS:
        if column not in row:
            return f"no {column!r}; found {', '.join(map(repr, row)) or 'nothing'}.{did_you_mean(column, row)}"
    prompt, answer, label = (row[column] for column in COLUMNS)
    if not isinstance(prompt, str) or not prompt.strip() or not isinstance(answer, str) or not answer.strip():
        return "'prompt' and 'answer' must be texts, and not empty"
    text = label.strip() if isinstance(label, str) else shown(label)
    if text not in ("1", "2", "3", "4", "5"):
        return f"the label {shown(label)} is none of 1, 2, 3, 4, 5"
    reference = row.get("reference") or {}
    if not isinstance(reference, dict):
        return "'reference' must be an object"
    category, policy = row.get("category") or "all", row.get("policy") or ""
    return Labelled(Prompt(str(category), prompt, reference), answer, int(text), str(policy))


def by_judging(
    judge: Judge,
    labelled: Sequence[Labelled],
    name: str,
    random_sample: bool,
    budget: Budget,
    report: Report = lambda _: None,
) -> Calibration:
    """The calibration of a judge that reads each labelled answer now. Verdicts in the verdict cache cost nothing.

    Raises:
        DataError: one category comes with two policies.
    """
    policies: dict[str, str] = {}
    for row in labelled:
        if row.policy and policies.setdefault(row.prompt.category, row.policy) != row.policy:
            raise DataError(f"{name}: the category {row.prompt.category!r} comes with two policies; keep one.")
    scores: dict[str, int | None] = {}
    for rows in _rounds(labelled):
        pairs = [(row.prompt, Answer(row.prompt.id, "answered", row.answer)) for row in rows.values()]
        with closing(cache.verdicts(judge, policies, pairs, budget)) as stream:
            for verdicts in stream:
                scores.update({rows[verdict.prompt_id].hash: verdict.score for verdict in verdicts})
                report(len(verdicts))
    pairs_of_scores = {row.hash: (row.label, scores.get(row.hash)) for row in labelled}
    return calibrate(label_of(judge), name, pairs_of_scores, random_sample)


def _rounds(labelled: Sequence[Labelled]) -> list[dict[str, Labelled]]:
    """The rows by prompt id, in rounds that hold at most one answer to each prompt."""
    rounds: list[dict[str, Labelled]] = []
    for row in labelled:
        first_free = next((each for each in rounds if row.prompt.id not in each), None)
        if first_free is None:
            rounds.append(first_free := {})
        first_free[row.prompt.id] = row
    return rounds


def from_run(
    run_folder: RunFolder, judge: str, labels_from: str, labelled: Sequence[Labelled], name: str, random_sample: bool
) -> Calibration:
    """The calibration of a judge by its verdicts in a finished run. Nothing is judged again.

    The labels are those of a file, each for an answer of the run, or without a file the verdicts of another judge.

    Raises:
        RunFolderError: the run has no such judge.
        DataError: a labelled answer is not in the run, or the judge is compared with itself.
    """
    judges = run_folder.results().evaluation.sets[SET].judges
    subject = _named(judges, judge, run_folder)
    scores = _scores(run_folder, subject)
    if labelled:
        unknown = [f"{row.prompt.text[:60]!r}" for row in labelled if row.hash not in scores]
        refuse_rows(name, unknown, f"These prompts have no such answer in {run_folder.folder}.")
        labels = {row.hash: row.label for row in labelled}
    else:
        other = _named(judges, labels_from, run_folder)
        if other == subject:
            raise DataError(f"{subject} cannot be its own label; name another judge with --labels-from, or a file.")
        labels = {key: score for key, score in _scores(run_folder, other).items() if score is not None}
        name = other
    return calibrate(subject, name, {key: (label, scores[key]) for key, label in labels.items()}, random_sample)


def _named(judges: Sequence[str], wanted: str, run_folder: RunFolder) -> str:
    """The one judge with a name, which may lack the hash of its settings."""
    matches = [name for name in judges if wanted in (name, name.rpartition("-")[0])]
    if len(matches) == 1:
        return matches[0]
    what = f"several judges called {wanted!r}" if matches else f"no verdicts of {wanted!r}"
    hint = "" if matches else did_you_mean(wanted, judges)
    raise RunFolderError(
        f"{run_folder.folder} has {what}; it has {', '.join(judges)}.{hint} A judge that is added to "
        "the study judges the same answers when the study is run again with --replace."
    )


def _scores(run_folder: RunFolder, judge: str) -> Mapping[str, int | None]:
    """Hash of request and answer → the judge's score, over all conditions of a run."""
    requests = {row["id"]: row["prompt"] for row in run_folder.prompts() if row["set"] == SET}
    scores: dict[str, int | None] = {}
    for key in dict.fromkeys(condition.key for condition in run_folder.results().conditions):
        folder = run_folder.condition(key)
        answers = folder.answers_to(requests)
        for name, verdict in folder.verdicts(SET, judge, on=answers).items():
            if name in requests:
                scores.setdefault(answer_hash(requests[name], answers[name].text), verdict.score)
    return scores
