"""The texts of a run as rows: prompts, answers and verdicts, read from its folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.study.plan import Plan

Row = dict[str, Any]
TEXTS = ("prompt", "answer", "detail")
"""The fields of a row that hold what was asked and said."""


def prompt_rows(plan: Plan) -> list[dict[str, str]]:
    """Every prompt of every set, for the run folder, so that answers can be read without the benchmark's files."""
    return [
        {"set": name, "id": prompt.id, "category": prompt.category, "prompt": prompt.text}
        for name, benchmark in plan.suite.benchmarks.items()
        for prompt in benchmark.prompts
    ]


def answer_rows(results: RunResults, run_folder: RunFolder) -> Iterator[Row]:
    """Every answer with its prompt's text and the verdict of its set's first judge.

    Conditions that share a key (greedy answers of the initial model under several seeds) give a row for each seed.
    """
    prompts = run_folder.prompts()
    judges = {name: measured.judges[0] for name, measured in results.evaluation.sets.items()}
    for condition in results.conditions:
        folder = run_folder.condition(condition.key)
        answers = folder.answers_to(prompt["id"] for prompt in prompts)
        verdicts = {name: folder.verdicts(name, judge, on=answers) for name, judge in judges.items()}
        for prompt in prompts:
            answer, verdict = answers[prompt["id"]], verdicts[prompt["set"]].get(prompt["id"])
            yield {
                "condition": condition.name, "seed": condition.seed, "role": condition.role, "set": prompt["set"],
                "category": prompt["category"], "prompt": prompt["prompt"], "answer": answer.text,
                "outcome": answer.outcome, "reading": verdict.reading if verdict else "not judged",
                "score": verdict.score if verdict else None, "tokens": answer.tokens, "detail": answer.detail,
                "prompt_id": prompt["id"], "key": condition.key,
            }  # fmt: skip


def verdict_rows(results: RunResults, run_folder: RunFolder) -> Iterator[Row]:
    """Every verdict of every judge, with its prompt's text and the outcome of the answer."""
    prompts = {(prompt["set"], prompt["id"]): prompt for prompt in run_folder.prompts()}
    for condition in results.conditions:
        folder = run_folder.condition(condition.key)
        answers = folder.answers_to(name for _, name in prompts)
        for set_name, measured in results.evaluation.sets.items():
            for judge in measured.judges:
                for name, verdict in folder.verdicts(set_name, judge, on=answers).items():
                    if (set_name, name) in prompts:
                        prompt, shown = prompts[set_name, name], asdict(verdict)
                        del shown["answer_digest"]
                        yield {
                            "condition": condition.name, "seed": condition.seed, "role": condition.role,
                            "set": set_name, "category": prompt["category"], "prompt": prompt["prompt"],
                            "outcome": answers[name].outcome, "judge": judge, **shown, "key": condition.key,
                        }  # fmt: skip


def score_rows(results: RunResults, run_folder: RunFolder) -> list[Row]:
    """The same rows without any text of prompts and answers: what a page shows unless it is asked for more.

    There are none where the folder has figures and no conditions, as when only its `results.json` was passed on.
    """
    if not all(run_folder.condition(condition.key).folder.is_dir() for condition in results.conditions):
        return []
    rows = answer_rows(results, run_folder)
    return [{name: value for name, value in row.items() if name not in TEXTS} for row in rows]
