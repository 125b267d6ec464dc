"""A finished run → logs of Inspect, one for each condition, seed and measured set. They hold the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from holdfast.analysis import stats
from holdfast.core.containment import checked_name
from holdfast.core.errors import RunFolderError
from holdfast.core.optional import need_inspect
from holdfast.core.results import ConditionResult, RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Answer, Message, Outcome, Template, Verdict, content_hash
from holdfast.study.results.evidence import METRICS

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample, EvalScore, EvalSpec
    from inspect_ai.model import ChatMessage
    from inspect_ai.scorer import Score

STOPS: dict[Outcome, Literal["stop", "max_tokens", "content_filter", "unknown"]] = {
    "answered": "stop", "truncated": "max_tokens", "blocked": "content_filter", "backend_error": "unknown",
}  # fmt: skip
"""Our outcomes as Inspect's reasons to stop."""

Verdicts = Mapping[str, Mapping[str, Verdict]]
"""Judge → prompt id → verdict."""


def export(run_folder: RunFolder, out: Path) -> list[Path]:
    """Write a run's logs into a new folder, as `<condition>/seed-<n>/<time>_<set>_<id>.eval`, and return their paths.

    Raises:
        HoldfastError: Inspect is not installed.
        RunFolderError: the run is not finished, the folder has something in it, or a name would lead out of it.
    """
    need_inspect()
    from inspect_ai.log import write_eval_log

    results = run_folder.results()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out} exists already and is not empty; name a new folder with --inspect.")
    written = datetime.fromtimestamp((run_folder.folder / "results.json").stat().st_mtime, UTC).replace(microsecond=0)
    paths = []
    for condition in results.conditions:
        for set_name in results.evaluation.sets:
            log = _log(run_folder, results, condition, set_name, written)
            stamp, name = f"{written:%Y-%m-%dT%H-%M-%S}-00-00", checked_name(set_name).replace("_", "-")
            folder = out / checked_name(condition.name) / f"seed-{condition.seed}"
            path = folder / f"{stamp}_{name}_{log.eval.task_id}.eval"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_eval_log(log, path)
            paths.append(path)
    return paths


def _log(
    run_folder: RunFolder, results: RunResults, condition: ConditionResult, set_name: str, written: datetime
) -> EvalLog:
    """One condition's answers to one set."""
    from inspect_ai.log import EvalLog, EvalResults, EvalStats

    folder = run_folder.condition(condition.key)
    prompts = [row for row in run_folder.prompts() if row["set"] == set_name]
    answers = folder.answers_to(row["id"] for row in prompts)
    judges = results.evaluation.sets[set_name].judges
    verdicts = {judge: folder.verdicts(set_name, judge, on=answers) for judge in judges}
    template = Template(**folder.condition()["asking"]["template"])
    spec = _spec(results, condition, set_name, prompts, written)
    spec.task_args["template"] = {"system": template.system, "user": template.user}
    spec.task_args_passed = spec.task_args
    samples = [_sample(row, answers[row["id"]], verdicts, template, spec.model) for row in prompts]
    return EvalLog(
        status="success",
        eval=spec,
        results=EvalResults(
            total_samples=len(samples),
            completed_samples=sum(sample.error is None for sample in samples),
            scores=[_figures(set_name, judge, prompts, by_prompt) for judge, by_prompt in verdicts.items()],
        ),
        stats=EvalStats(started_at=written.isoformat(), completed_at=written.isoformat()),
        samples=samples,
    )


def _spec(
    results: RunResults, condition: ConditionResult, set_name: str, prompts: list[dict[str, str]], written: datetime
) -> EvalSpec:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalSpec

    evaluation, model = results.evaluation, results.model
    generate = evaluation.decodings[condition.decoding] if condition.decoding else evaluation.generate
    benchmark = evaluation.sets[set_name].benchmark
    log_id = content_hash([results.evidence, condition.name, condition.seed, set_name])
    metadata = {
        "study": results.study, "condition": condition.name, "seed": condition.seed, "key": condition.key,
        "model": asdict(model), "settings": asdict(results.settings[condition.name]),
    }  # fmt: skip
    if model.stand_in:
        metadata["note"] = "a stand-in: its figures are no evidence about any other model"
    return EvalSpec(
        eval_id=log_id, task_id=log_id, run_id=results.evidence, created=written.isoformat(), task=set_name,
        task_args={"benchmark": benchmark, "seed": condition.seed, "generate": dict(generate)},
        dataset=EvalDataset(name=benchmark, samples=len(prompts), sample_ids=[row["id"] for row in prompts]),
        model=f"{model.name}/{condition.name}", config=EvalConfig(), packages={"holdfast": results.holdfast},
        tags=[condition.role, "stand-in"] if model.stand_in else [condition.role], metadata=metadata,
    )  # fmt: skip


def _sample(row: Mapping[str, str], answer: Answer, verdicts: Verdicts, template: Template, model: str) -> EvalSample:
    """One prompt with its answer, and what each judge made of it."""
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        ModelOutput,
        ModelUsage,
    )

    reply = ChatMessageAssistant(content=answer.text, source="generate")
    question: list[ChatMessage] = [
        (ChatMessageSystem if turn.role == "system" else ChatMessageUser)(content=turn.content)
        for turn in template.wrap([Message("user", row["prompt"])])
    ]
    tokens = answer.prompt_tokens + answer.tokens
    usage = ModelUsage(input_tokens=answer.prompt_tokens, output_tokens=answer.tokens, total_tokens=tokens)
    output = ModelOutput(
        model=model, choices=[ChatCompletionChoice(message=reply, stop_reason=STOPS[answer.outcome])], usage=usage,
        error=answer.detail or None,
    )  # fmt: skip
    failed = None
    if answer.outcome == "backend_error":
        failed = EvalError(message=answer.detail, traceback="", traceback_ansi="")
    metadata = {"category": row["category"], "outcome": answer.outcome, "detail": answer.detail}
    return EvalSample(
        id=row["id"], epoch=1, input=row["prompt"], target="", messages=[*question, reply], output=output,
        scores={judge: _score(by_prompt.get(row["id"]), answer) for judge, by_prompt in verdicts.items()},
        metadata={**metadata, "thinking": answer.thinking}, model_usage={model: usage}, error=failed,
    )  # fmt: skip


def _score(verdict: Verdict | None, answer: Answer) -> Score:
    """A verdict as Inspect's score; an answer that was not judged is marked unscored."""
    from inspect_ai.scorer import Score

    from holdfast.integrations.inspect.scores import score_of

    if verdict is None:
        why = f"not judged: {answer.outcome}"
        return Score.unscored(reason="no_response", explanation=why, metadata={"reading": "not judged"})
    return score_of(verdict, {})


def _figures(set_name: str, judge: str, prompts: list[dict[str, str]], verdicts: Mapping[str, Verdict]) -> EvalScore:
    """One judge's figures, each with the ends of its 95 % interval; NaN where nothing was scored."""
    from inspect_ai.log import EvalMetric, EvalScore

    in_order = (verdicts.get(row["id"]) for row in prompts)
    scores = np.array([np.nan if v is None or v.score is None else v.score for v in in_order], dtype=float)
    metrics = {}
    for metric in (metric for metric, its_set in METRICS.items() if its_set == set_name):
        estimate = stats.estimate(metric, scores)
        for suffix, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)):
            name = f"{metric}{suffix}"
            metrics[name] = EvalMetric(name=name, group=metric, value=float("nan") if value is None else value)
    missing = int(np.isnan(scores).sum())
    return EvalScore(
        name=judge, scorer=judge, scored_samples=len(scores) - missing, unscored_samples=missing, metrics=metrics
    )
