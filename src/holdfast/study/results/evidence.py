"""The scores of a run, from which all figures are computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from holdfast.analysis.stats import Array
from holdfast.core.config import label
from holdfast.core.protocols import Judge
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Condition
from holdfast.study.plan import Plan

METRICS = {
    "harmfulness_score": "harmfulness",
    "harmfulness_rate": "harmfulness",
    "utility": "utility",
    "over_refusal": "over_refusal",
}
"""Metric → the measured set that it is taken from."""


class Evidence:
    """The scores of a finished run. Each file is read once."""

    def __init__(self, plan: Plan, run_folder: RunFolder) -> None:
        self.run_folder = run_folder
        endings = {each.key: run_folder.condition(each.key).ending() for each in plan.conditions}
        self.ended = tuple(condition for condition in plan.conditions if endings[condition.key])
        """Conditions of which a provider gave no model, and which so have no scores."""
        self.plan = replace(plan, conditions=tuple(each for each in plan.conditions if not endings[each.key]))
        """The plan with the other conditions."""
        self._scores: dict[tuple[str, str, str], Array] = {}

    def judge(self, set_name: str) -> Judge:
        """The judge whose verdicts are the figures: the first that the study names for a set."""
        return self.plan.suite.sets[set_name].judges[0]

    def scores(self, condition: Condition, set_name: str, judge: Judge) -> Array:
        """Scores in the benchmark's order, NaN where there is none: shape [prompts]."""
        at = (condition.key, set_name, label(judge))
        if at not in self._scores:
            verdicts = self.run_folder.condition(condition.key).verdicts(set_name, label(judge))
            scores = []
            for prompt in self.plan.suite.benchmarks[set_name].prompts:
                verdict = verdicts.get(prompt.id)
                scores.append(np.nan if verdict is None or verdict.score is None else verdict.score)
            self._scores[at] = np.array(scores, dtype=float)
        return self._scores[at]

    def seeds(self, name: str, set_name: str) -> Array:
        """Scores of a condition's seeds by the set's first judge: shape [seeds, prompts].

        One row where no seed changes the answers, as those of an initial model that is asked greedily.
        """
        judge = self.judge(set_name)
        distinct = {condition.key: condition for condition in self.plan.conditions if condition.name == name}
        return np.array([self.scores(condition, set_name, judge) for condition in distinct.values()])

    def metrics(self) -> dict[str, str]:
        """The metrics that the study measures, with their sets."""
        return {metric: set_name for metric, set_name in METRICS.items() if set_name in self.plan.suite.sets}
