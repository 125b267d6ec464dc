"""What the base said in earlier audits, so that it is asked once on this machine, whatever is audited against it.

HOLDFAST_CACHE (or ~/.cache/holdfast)/audits/<hash>/, which nobody but the user can read or write
    condition.json, answers.jsonl, likelihood.jsonl, verdicts.<set>.<judge>.jsonl

The hash covers all that an answer depends on: the condition's key, the versions of the libraries, and the device.
Verdicts that cost something are not here: the verdict cache has them, and looks whether their judge is still the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex

from filelock import FileLock

from holdfast.core import likelihoods
from holdfast.core.config import label
from holdfast.core.errors import RunFolderError
from holdfast.core.files import private_cache
from holdfast.core.run_folder import ConditionFolder, RunFolder
from holdfast.core.types import Answer, Condition, content_hash
from holdfast.study.results.facts import environment
from holdfast.study.suite import EvalSuite


class Kept:
    """The conditions of bases that earlier audits have kept."""

    def __init__(self, suite: EvalSuite, device: str) -> None:
        self.suite = suite
        self.root = private_cache("audits")
        self.around = [environment(), device]

    def folder(self, condition: Condition) -> Path:
        """Where a condition is kept."""
        return self.root / content_hash([condition.key, *self.around])

    def fetch(self, condition: Condition, run_folder: RunFolder) -> int:
        """Give a run folder the answers of a condition that it lacks, and what was made of them; returns how many.

        What is damaged, or belongs to another condition, is left alone: it is asked again.
        """
        kept, own = ConditionFolder(self.folder(condition)), run_folder.condition(condition.key)
        if own.answers():  # a run that goes on has its own answers, and verdicts on them
            return 0
        try:
            if not kept.folder.is_dir() or kept.condition().get("key") != condition.key:
                return 0
            return self._copy(kept, own, condition)
        except (RunFolderError, OSError):
            return 0

    def keep(self, condition: Condition, run_folder: RunFolder) -> None:
        """Keep what a finished run has of a condition, for audits to come. It takes the place of what is kept."""
        own, target = run_folder.condition(condition.key), self.folder(condition)
        if len(self._answers(own)) <= len(self._kept_answers(target)):
            return
        draft = self.root / f".{target.name}.{token_hex(8)}"
        draft.mkdir(mode=0o700)
        try:
            self._copy(own, ConditionFolder(draft), condition)
            with FileLock(self.root / ".lock"):
                shutil.rmtree(target, ignore_errors=True)
                draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _copy(self, source: ConditionFolder, target: ConditionFolder, condition: Condition) -> int:
        """Write a condition's answers, likelihoods and free verdicts into another folder. All is read before."""
        answers, fluencies = self._answers(source), likelihoods.read(source)
        sets = self.suite.sets.items()
        judges = [(name, judge) for name, measured in sets for judge in measured.judges]
        free = [(name, label(judge)) for name, judge in judges if not judge.paid]
        verdicts = {each: source.verdicts(*each) for each in free}
        target.write_condition(dict(_identity(condition)))
        target.add_answers(answers.values())
        if known := {name: value for name, value in fluencies.items() if name in answers}:
            likelihoods.add(target, known)
        for (name, judge), of_judge in verdicts.items():
            ids = {prompt.id for prompt in self.suite.benchmarks[name].prompts}
            if rows := [each for each in of_judge.values() if each.prompt_id in ids and each.reading != "judge_error"]:
                target.add_verdicts(name, judge, rows)
        return len(answers)

    def _answers(self, folder: ConditionFolder) -> dict[str, Answer]:
        asked = self.suite.prompts
        every = folder.answers()
        return {name: each for name, each in every.items() if name in asked and each.outcome != "backend_error"}

    def _kept_answers(self, folder: Path) -> dict[str, Answer]:
        try:
            return self._answers(ConditionFolder(folder))
        except (RunFolderError, OSError):
            return {}


def _identity(condition: Condition) -> Mapping[str, object]:
    return {
        "name": condition.name, "key": condition.key, "training": condition.training, "asking": condition.asking,
    }  # fmt: skip
