"""What a run did cost, in US dollars and tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from holdfast.core.budget import FileBudget
from holdfast.core.config import label
from holdfast.core.judge_facts import Costs, JudgeCosts
from holdfast.core.run_folder import RunFolder
from holdfast.study.cost_forecast import ANSWERS, TUNING
from holdfast.study.plan import Plan


def spent(plan: Plan, run_folder: RunFolder, budget: FileBudget) -> Costs:
    """What a run's folder has cost: in all, for answers, and for each judge, with the verdicts that the cache had.

    `usd` is all that was booked in the folder, by earlier studies too. A judge's costs include its canaries and
    anchors.
    """
    booked = budget.by_stage()
    verdicts, from_cache = Counter[str](), Counter[str]()
    keys = dict.fromkeys(condition.key for condition in plan.conditions)
    for set_name, measured in plan.suite.sets.items():
        for name in map(label, measured.judges):
            for key in keys:
                of_condition = run_folder.condition(key).verdicts(set_name, name).values()
                verdicts[name] += len(of_condition)
                from_cache[name] += sum(verdict.from_cache for verdict in of_condition)
    judges = {name: JudgeCosts(booked.get(name, 0.0), n, from_cache[name]) for name, n in verdicts.items()}
    return Costs(
        math.fsum(booked.values()), booked.get(ANSWERS, 0.0), judges, booked.get(TUNING, 0.0),
        **_tokens(run_folder, keys),
    )  # fmt: skip


def _tokens(run_folder: RunFolder, keys: Iterable[str]) -> Counter[str]:
    """Tokens of the answers under these keys."""
    tokens = Counter[str]()
    for key in keys:
        for answer in run_folder.condition(key).answers().values():
            tokens.update(prompt_tokens=answer.prompt_tokens, answer_tokens=answer.tokens)
    return tokens
