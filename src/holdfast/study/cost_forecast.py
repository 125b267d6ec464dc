"""The most that the rest of a run can cost, in US dollars by stage, computed before anything is paid for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from holdfast.core.config import label
from holdfast.core.protocols import Judge
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Condition, Message
from holdfast.judges.canaries import read_cases
from holdfast.study.pending import lacks_record, missing_prompts, missing_verdicts
from holdfast.study.plan import Job

TUNING, ANSWERS = "tuning", "answers"
"""The stages in which a provider tunes, and prompts are answered. Each judge is a stage, by its name and key."""


def forecast(jobs: Sequence[Job], run_folder: RunFolder) -> dict[str, float]:
    """The most that unfinished jobs can cost, by stage. Retries and the verdict cache are left out."""
    usd_by_stage: dict[str, float] = {}
    checked: set[str] = set()
    for job in jobs:
        usd_by_stage[TUNING] = usd_by_stage.get(TUNING, 0.0) + _tuning_cost(job, run_folder)
        for condition in job.conditions:
            usd_by_stage[ANSWERS] = usd_by_stage.get(ANSWERS, 0.0) + _answer_cost(job, condition, run_folder)
            for judge, usd in _verdict_costs(job, condition, run_folder):
                checks = () if label(judge) in checked else (judge.inner or (judge,))
                checked.add(label(judge))
                total = usd_by_stage.get(label(judge), 0.0) + usd + sum(check_cost(each)[1] for each in checks)
                usd_by_stage[label(judge)] = total
    return {stage: usd for stage, usd in usd_by_stage.items() if usd > 0}


def _tuning_cost(job: Job, run_folder: RunFolder) -> float:
    """The most that a job's tuning can cost, if it is still to be done."""
    training = job.training
    if training is None or not any(lacks_record(job, run_folder.condition(each.key)) for each in job.conditions):
        return 0.0
    return training.tuner.worst_usd(training.rows)


def _answer_cost(job: Job, condition: Condition, run_folder: RunFolder) -> float:
    """The most that the missing answers of a condition can cost: each as long as it may be."""
    generator: Any = job.generators[condition.key]
    if generator.kind == "local":
        return 0.0
    conversations = job.suite.conversations(job.templates[condition.key])
    missing = missing_prompts(job.suite, run_folder.condition(condition.key))
    prompt_tokens = sum(likely_tokens(conversations[prompt.id]) for prompt in missing)
    usd: float = generator.price.usd(prompt_tokens, len(missing) * generator.max_new_tokens)
    return usd * float(generator.share_of_price(len(missing)))


def _verdict_costs(job: Job, condition: Condition, run_folder: RunFolder) -> Iterator[tuple[Judge, float]]:
    """The most that the missing verdicts of a condition can cost, for each set and judge that has some."""
    answer_tokens = getattr(job.generators[condition.key], "max_new_tokens", 0)
    folder = run_folder.condition(condition.key)
    for set_name, measured in job.suite.sets.items():
        for judge in measured.judges:
            missing = missing_verdicts(job.suite, folder, set_name, judge)
            if missing:
                yield judge, judge.worst(job.suite.benchmarks[set_name].policies, missing, answer_tokens)[1]


def check_cost(judge: Judge) -> tuple[int, float]:
    """The most tokens and US dollars that it takes a judge to read its canaries and anchors once."""
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
