"""A finished run's folder → what a gate looks at: the scores of base and tuned models on the same prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.analysis.checks import Asked
from holdfast.analysis.evidence import Evidence, PairedScores
from holdfast.audit.soundness import Broken, broken_in
from holdfast.core.audit_record import AUDIT, Sequential
from holdfast.core.errors import RunFolderError
from holdfast.core.files import did_you_mean
from holdfast.core.results import ConditionResult, RunResults
from holdfast.core.run_folder import ConditionFolder, RunFolder

Array = NDArray[np.float64]


def gather(
    folder: Path, condition: str | None = None, seed: int | None = None, broken: Broken | None = None
) -> list[Evidence]:
    """The evidence on each tuned condition of a finished run, in the order of its results.

    Args:
        folder: of a study's run or of an audit.
        condition: only this tuned condition.
        seed: only the model of this seed, instead of all seeds together.
        broken: tells which answers are broken; by their text, and their likelihood if it is known, if not given.

    Raises:
        RunFolderError: no such folder, condition or seed; no results; or a damaged file.
    """
    if not folder.is_dir():
        raise RunFolderError(f"there is no folder {folder}. Name that of a finished run or audit, such as runs/demo.")
    results, run_folder = RunFolder(folder).results(), RunFolder(folder)
    names = [name for name, facts in results.settings.items() if facts.role == "tuned"]
    if condition is not None and condition not in names:
        raise RunFolderError(
            f"{folder} has no tuned condition {condition!r}; it has {', '.join(names)}.{did_you_mean(condition, names)}"
        )
    if seed is not None and seed not in results.seeds:
        raise RunFolderError(f"{folder} has no seed {seed}; it has {', '.join(map(str, results.seeds))}.")
    if not names:
        raise RunFolderError(f"{folder} has no tuned condition, so there is nothing to decide.")
    reader = _Reader(results, run_folder, seed, broken or broken_in(results, run_folder))
    return [reader.evidence(name) for name in names if condition in (None, name)]


class _Reader:
    """Reads a run's scores; each file once for each condition."""

    def __init__(self, results: RunResults, run_folder: RunFolder, seed: int | None, broken: Broken) -> None:
        self.results, self.run_folder, self.seed, self.broken = results, run_folder, seed, broken
        self.prompts: dict[str, list[tuple[str, str]]] = {}
        for row in run_folder.prompts():
            self.prompts.setdefault(row["set"], []).append((row["id"], row["category"]))

    def evidence(self, name: str) -> Evidence:
        """The evidence on one tuned condition, against the initial model that was asked alike."""
        base, tuned = self._folders(self._asked_alike(name)), self._folders(name)
        seeds_are_models = self.results.settings[name].checkpoint is None
        measured = self.results.evaluation.sets
        sets = {of: self._paired(base, tuned, of, one.judges[0], seeds_are_models) for of, one in measured.items()}
        others = measured["harmfulness"].judges[1:] if "harmfulness" in measured else ()
        return Evidence(
            condition=name,
            sets=sets,
            other_judges={judge: self._paired(base, tuned, "harmfulness", judge, seeds_are_models) for judge in others},
            base_broken=self._broken(base),
            tuned_broken=self._broken(tuned),
            judge_faults=tuple(faults_of(self.results)),
            missing={of: missing(scores) for of, scores in sets.items()},
            noise_rate=_noise_rate(self.run_folder.folder),
        )

    def _asked_alike(self, name: str) -> str:
        """The initial model that was asked with the template and decoding of a condition."""
        for comparison in self.results.comparisons:
            if comparison.name == name and comparison.against:
                return comparison.against
        settings = self.results.settings
        asked = settings[name].ask, settings[name].decoding
        for other, facts in settings.items():
            if facts.role == "initial" and (facts.ask, facts.decoding) == asked:
                return other
        raise RunFolderError(
            f"{self.run_folder.folder}: no initial model was asked as {name} was, so there is nothing to compare with."
        )

    def _folders(self, name: str) -> list[ConditionFolder]:
        """The folders of a condition's seeds: one where no seed changes an answer."""
        wanted: dict[str, ConditionResult] = {}
        for condition in self.results.conditions:
            if condition.name == name and self.seed in (None, condition.seed):
                wanted.setdefault(condition.key, condition)
        return [self.run_folder.condition(key) for key in wanted]

    def _paired(
        self, base: Sequence[ConditionFolder], tuned: Sequence[ConditionFolder], of: str, judge: str,
        seeds_are_models: bool,
    ) -> PairedScores:  # fmt: skip
        prompts = self.prompts.get(of, [])
        ids = tuple(name for name, _ in prompts)
        return PairedScores(
            prompts=ids,
            categories=tuple(category for _, category in prompts),
            base=_scores(base, of, judge, ids),
            tuned=_scores(tuned, of, judge, ids),
            seeds_are_models=seeds_are_models,
        )

    def _broken(self, folders: Sequence[ConditionFolder]) -> Array:
        """Whether each harmfulness answer is broken: prompts × seeds."""
        columns = []
        for folder in folders:
            broken = self.broken(folder)
            columns.append([float(broken.get(name, False)) for name, _ in self.prompts.get("harmfulness", [])])
        return np.array(columns, dtype=float).T


def _scores(folders: Sequence[ConditionFolder], of: str, judge: str, ids: Sequence[str]) -> Array:
    """Scores of one judge, NaN where there is none: prompts × seeds."""
    columns = []
    for folder in folders:
        verdicts = folder.verdicts(of, judge)
        scores = (verdicts[name].score if name in verdicts else None for name in ids)
        columns.append([np.nan if score is None else float(score) for score in scores])
    return np.array(columns, dtype=float).reshape(len(folders), len(ids)).T


def missing(scores: PairedScores) -> float:
    """The larger share of answers without a score, of base and tuned model; 1 where there is none at all."""
    return max(float(np.isnan(side).mean()) if side.size else 1.0 for side in (scores.base, scores.tuned))


def faults_of(results: RunResults) -> Iterator[str]:
    """What the checks of a run's judges found."""
    for judge, check in results.judges.items():
        if check.canaries and check.canaries.passed < check.canaries.n:
            wrong = check.canaries.n - check.canaries.passed
            yield f"{judge} misread {wrong} of {check.canaries.n} answers whose score is known (canaries)."
        if check.anchors.warning:
            yield f"{judge}: {check.anchors.warning}"


def order_of(sequential: Sequential | None) -> Asked:
    """How the tests of an audit must count that they were looked at block by block."""
    if sequential is None:
        return "at once"
    return "in blocks" if sequential.stopped == "all asked" else "so far"


def _noise_rate(folder: Path) -> float | None:
    """The noise floor that an audit measured, in points; None for a study, which measures none.

    Raises:
        RunFolderError: the audit's file is damaged.
    """
    path = folder / AUDIT
    if not path.is_file():
        return None
    try:
        rate = json.loads(path.read_bytes())["noise"]["floor_rate"]
        return None if rate is None else float(rate)
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged ({str(error)[:200]}). Run the audit again to write it anew.") from None
