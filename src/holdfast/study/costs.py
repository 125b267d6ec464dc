"""What a run can cost before it is begun, and what it did cost, in US dollars by stage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from holdfast.core.budget import FileLedger
from holdfast.core.config import label
from holdfast.core.protocols import Judge
from holdfast.core.run_folder import Store
from holdfast.core.types import Condition, Message, Prompt
from holdfast.judges.canaries import read_cases
from holdfast.study.plan import Plan, Work, questions
from holdfast.study.results.summary import is_answered, is_readable, judged

ANSWERS = "answers"
"""The stage of asking; each judge is a stage by its name and key."""


def spent(plan: Plan, store: Store, ledger: FileLedger) -> dict[str, Any]:
    """What a run's folder has cost: in all, for answers, and for each judge, with the verdicts that the book had.

    `usd` is all that was booked in the folder, by earlier studies too; a judge's includes its canaries and anchors.
    """
    booked = ledger.by_stage()
    judges: dict[str, Any] = {}
    keys = dict.fromkeys(condition.key for condition in plan.conditions)
    for measured, entry in plan.asked.sets.items():
        for name in map(label, entry.judges):
            counts = judges.setdefault(name, {"usd": booked.get(name, 0.0), "verdicts": 0, "from_book": 0})
            for key in keys:
                verdicts = store.condition(key).verdicts(measured, name).values()
                counts["verdicts"] += len(verdicts)
                counts["from_book"] += sum(verdict.from_book for verdict in verdicts)
    return {"usd": math.fsum(booked.values()), ANSWERS: booked.get(ANSWERS, 0.0), "judges": judges}


def foreseen(works: Sequence[Work], store: Store) -> dict[str, float]:
    """The most that what is missing can cost, by stage; attempts that fail aside, and as if the book were empty."""
    most: dict[str, float] = {}
    checked: set[str] = set()
    for work in works:
        for condition in work.conditions:
            most[ANSWERS] = most.get(ANSWERS, 0.0) + _asking(work, condition, store)
            for name, judge, prompts, tokens in _judging(work, condition, store):
                usd = judge.worst(work.asked.benchmarks[name].policies, prompts, tokens)[1]
                if prompts and label(judge) not in checked:
                    checked.add(label(judge))
                    usd += sum(checking(asked)[1] for asked in judge.inner or (judge,))
                most[label(judge)] = most.get(label(judge), 0.0) + usd
    return {stage: usd for stage, usd in most.items() if usd > 0}


def _asking(work: Work, condition: Condition, store: Store) -> float:
    generator: Any = work.generators[condition.key]
    if generator.kind == "local" or is_answered(work, condition, store):
        return 0.0
    answers = store.condition(condition.key).answers()
    done = {name for name, answer in answers.items() if answer.outcome != "backend_error"}
    asked = questions(work.asked, work.templates[condition.key])
    missing = [turns for name, turns in asked.items() if name not in done]
    usd: float = generator.price.usd(sum(map(likely_tokens, missing)), len(missing) * generator.max_new_tokens)
    return usd * float(generator.share_of_price(len(missing)))


def _judging(work: Work, condition: Condition, store: Store) -> Iterable[tuple[str, Judge, list[Prompt], int]]:
    """Measured set, judge, prompts to whose answers its verdict is missing, and the tokens that an answer may have."""
    place = store.condition(condition.key)
    answers = place.answers()
    tokens = getattr(work.generators[condition.key], "max_new_tokens", 0)
    for name, measured in work.asked.sets.items():
        prompts = work.asked.benchmarks[name].prompts
        open_ = [p for p in prompts if p.id not in answers or is_readable(answers[p.id])]
        for judge in measured.judges:
            done = judged(place.verdicts(name, label(judge))) if judge.paid or judge.inner else set()
            yield name, judge, [prompt for prompt in open_ if prompt.id not in done], tokens


def checking(judge: Judge) -> tuple[int, float]:
    """The most tokens and US dollars that reading its canaries and anchors once takes a judge."""
    tokens, usd = 0, 0.0
    for path, scored in ((judge.canaries, True), (judge.anchors, False)):
        if path:
            cases = read_cases(path, scored)
            longest = max(len(answer.text.encode()) for _, answer in cases.pairs)
            more = judge.worst(cases.policies, [prompt for prompt, _ in cases.pairs], longest // 2 + 1)
            tokens, usd = tokens + more[0], usd + more[1]
    return tokens, usd


def likely_tokens(turns: Sequence[Message]) -> int:
    """More tokens than a conversation is likely to have: one for every two bytes, and what a template adds."""
    return sum(len(turn.content.encode(errors="replace")) // 2 + 16 for turn in turns) + 64


def told(stages: Mapping[str, float]) -> str:
    """Costs by stage as a person reads them."""
    return ", ".join(f"{stage} ${usd:.4f}" for stage, usd in stages.items())
