"""One run, from top to bottom: study → conditions → tune → answer → judge → figures → page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Generator as Stream
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from holdfast.analysis import arena
from holdfast.core import warm_start
from holdfast.core.arena_record import ARENA
from holdfast.core.budget import FileBudget
from holdfast.core.config import label
from holdfast.core.errors import WorkError
from holdfast.core.progress import Meter, Progress
from holdfast.core.protocols import Budget, Judge, StagedBudget, Watcher
from holdfast.core.record_file import text_of
from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Condition, NoCheckpoint, Tuned
from holdfast.core.workers import Failure, work_through
from holdfast.judges import cache
from holdfast.report import arena as arena_tables
from holdfast.report import page
from holdfast.study import hosted_rules, mending, preflight
from holdfast.study.changes import RESOLVED, make_room, resolved_study
from holdfast.study.cost_forecast import ANSWERS, TUNING, forecast
from holdfast.study.endings import let_go, note_ending
from holdfast.study.limits import NO_LIMITS, Limits
from holdfast.study.pending import (
    is_finished,
    is_left,
    is_readable,
    lacks_record,
    missing_prompts,
    missing_verdicts,
)
from holdfast.study.plan import Job, Plan, epochs_of, make_plan
from holdfast.study.results.facts import is_current
from holdfast.study.results.rows import answer_rows, prompt_rows, score_rows
from holdfast.study.results.summary import summarise
from holdfast.study.schema import Study
from holdfast.study.suite import ANSWER
from holdfast.study.tuned import measure_tasks, tune


class Cluster(Protocol):
    """Machines that do the jobs of a run, in the place of worker processes."""

    def do(
        self, jobs: Sequence[Job], folder: Path, watcher: Watcher, keep: bool, limits: Limits, fresh: bool
    ) -> Stream[int | Failure, None, None]:
        """Do jobs of the run in a folder; yields the index of each when it is done, or its failure."""


Workers = int | Cluster
"""Who does the jobs of a run: so many worker processes, or a cluster."""


@dataclass(frozen=True)
class Finished:
    """A run that has done all there was to do."""

    plan: Plan
    run_folder: RunFolder
    results: RunResults
    changed: bool
    """Whether the figures are other than the folder held before."""


def run(
    study: Study,
    source: str | None,
    folder: Path,
    seeds: Sequence[int],
    workers: Workers,
    watcher: Watcher,
    keep: bool = False,
    limits: Limits = NO_LIMITS,
    fresh_verdicts: bool = False,
    replace_results: bool = False,
) -> Finished:
    """Do what is missing of a study, and write its results into a folder.

    Args:
        study: what to do.
        source: the study's text as it was given, kept as `study.yaml`; None for a study that has no text.
        folder: the run folder. What it holds already is not done again.
        seeds: seeds of the data draw, of tuning and of sampled answers.
        workers: number of worker processes, or a cluster.
        watcher: is told the progress.
        keep: keep tuned weights; otherwise they are deleted once all prompts are answered.
        limits: caps on cost and time.
        fresh_verdicts: pay for all verdicts again, also for those in the verdict cache.
        replace_results: replace the results of another study in the folder; they are kept in `previous/`.

    Raises:
        JudgeError: a judge that is to be paid misreads what nobody can misread.
        RunFolderError: the folder holds the results of another study, or another run is at work in it.
        WorkError: naming the conditions that failed, after all others were finished.
        HoldfastError: bad input, before anything is tuned.
    """
    hosted_rules.check_cap(study, limits.max_usd)
    run_folder, budget = RunFolder(folder), FileBudget(folder / "spending.jsonl", limits.max_usd)
    if isinstance(workers, int) and workers > 1 and not run_folder.has_results():
        warm_start.warm(_libraries(study))
    with opened(study, source, run_folder, seeds, watcher, replace_results) as plan:
        missing = [job for job in plan.jobs if not is_finished(job, run_folder)]
        missing += [job for job in plan.jobs if job not in missing and not keep and is_left(job, run_folder)]
        if missing:
            work_off(missing, run_folder, budget, workers, watcher, keep, limits, fresh_verdicts)
        elif run_folder.has_results() and is_current(results := run_folder.results(), plan):
            return Finished(plan, run_folder, results, changed=False)
        results = summarise(plan, run_folder, budget, preflight.checks(plan, run_folder))
        results.write(folder)
    return Finished(plan, run_folder, results, changed=True)


def _libraries(study: Study) -> tuple[str, ...]:
    """What the workers of a study import: nothing large where a server answers and a provider tunes."""
    tunes = any(each.data is not None and each.tune.kind == "local" for each in study.conditions.values())
    asks = tunes or study.generate.kind == "local"
    return (*(warm_start.TO_ASK if asks else ()), *(warm_start.TO_TUNE if tunes else ()))


@contextmanager
def opened(
    study: Study, source: str | None, run_folder: RunFolder, seeds: Sequence[int], watcher: Watcher,
    replace_results: bool, amend: Callable[[Plan], Plan] | None = None,
) -> Iterator[Plan]:  # fmt: skip
    """Hold a run folder, after making room in it and writing what the run will do; `amend` changes the plan first.

    Raises:
        HoldfastError: as `run`, before anything is asked.
    """
    with run_folder.lock(watcher.note):
        run_folder.tidy_checkpoints()  # a run that was killed after its last condition left the folder
        plan = make_plan(study, seeds)
        plan = amend(plan) if amend else plan
        for doubt in preflight.adapter_doubts(plan):
            watcher.note(f"Warning: {doubt}")
        for damage in mending.mend_results(plan, run_folder):
            watcher.note(damage)
        if previous := make_room(plan, run_folder, replace_results):
            watcher.note(f"The earlier results are kept in {previous}.")
        _write_study(run_folder, plan, source)
        for damage in mending.mend(plan, run_folder):
            watcher.note(damage)
        yield plan


def work_off(
    jobs: Sequence[Job], run_folder: RunFolder, budget: FileBudget, workers: Workers, watcher: Watcher,
    keep: bool = False, limits: Limits = NO_LIMITS, fresh_verdicts: bool = False,
) -> None:  # fmt: skip
    """Do jobs, after saying what they can cost and having the judges read their canaries.

    Raises:
        HoldfastError: as `run`.
    """
    _announce_cost(jobs, run_folder, watcher)
    preflight.check_judges(jobs, run_folder, budget, watcher)
    finish(jobs, run_folder.folder, workers, watcher, keep, limits, fresh_verdicts)


def _write_study(run_folder: RunFolder, plan: Plan, source: str | None) -> None:
    """Write what the run does: the study as it was given, the same with every setting, and every prompt."""
    resolved = resolved_study(plan)
    run_folder.write("study.yaml", resolved if source is None else source)
    run_folder.write(RESOLVED, resolved)
    write_prompts(run_folder, plan)


def write_prompts(run_folder: RunFolder, plan: Plan) -> None:
    """Write every prompt that a plan asks."""
    run_folder.write("prompts.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in prompt_rows(plan)))


def _announce_cost(jobs: Sequence[Job], run_folder: RunFolder, watcher: Watcher) -> None:
    if usd_by_stage := forecast(jobs, run_folder):
        stages = ", ".join(f"{stage} ${usd:.4f}" for stage, usd in usd_by_stage.items())
        watcher.note(f"At most ${sum(usd_by_stage.values()):.4f}: {stages}.")


def write_page(run_folder: RunFolder, results: RunResults, show_answers: bool) -> Path:
    """Write `report.html` from the results, with the answers only if `show_answers` is set.

    A run with attacks on defences has a page of its own, without answers, and `defences.json`, `.md` and `.tex` beside.
    """
    if arena.has_cells(results):
        return _write_arena(run_folder, results)
    transcripts = list(answer_rows(results, run_folder)) if show_answers else None
    scores = None if show_answers else score_rows(results, run_folder)
    return run_folder.write("report.html", page.render(results, transcripts, scores))


def _write_arena(run_folder: RunFolder, results: RunResults) -> Path:
    record = arena.record_of(results)
    run_folder.write(ARENA, text_of(record))
    run_folder.write("defences.md", arena_tables.as_markdown(record))
    run_folder.write("defences.tex", arena_tables.as_latex(record))
    points = {each.name: point for each in record.defences if (point := arena.point_of(each))}
    return run_folder.write("report.html", page.render_arena(results, record, points))


def finish(
    jobs: Sequence[Job], folder: Path, workers: Workers, watcher: Watcher, keep: bool, limits: Limits, fresh: bool
) -> None:
    """Do jobs in worker processes or on a cluster, the longest first.

    Raises:
        WorkError: naming the conditions that failed, and why; the others are finished.
    """
    watcher.begin(sum(job.size() for job in jobs))
    longest_first = sorted(jobs, key=lambda job: -job.size())
    names_by_reason: dict[str, list[str]] = {}
    if isinstance(workers, int):
        work = partial(do, folder=folder, keep=keep, limits=limits, fresh=fresh)
        stream = work_through(work, longest_first, min(workers, len(jobs)), watcher)
    else:
        stream = workers.do(longest_first, folder, watcher, keep, limits, fresh)
    with closing(stream) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                names = [f"{c.name} (seed {c.seed})" for c in longest_first[outcome.index].conditions]
                names_by_reason.setdefault(f"{outcome.reason}\n{outcome.trace}".rstrip(), []).extend(names)
            else:
                watcher.finished(longest_first[outcome].conditions)
    RunFolder(folder).tidy_checkpoints()
    if names_by_reason:
        raise WorkError(_failure_message(names_by_reason, sum(len(job.conditions) for job in jobs), folder))


def _failure_message(names_by_reason: dict[str, list[str]], n: int, folder: Path) -> str:
    n_failed = sum(map(len, names_by_reason.values()))
    rest = "the others are finished" if n_failed < n else "none is finished"
    reasons = "".join(f"\n  {', '.join(names)}: {reason}" for reason, names in names_by_reason.items())
    return (
        f"{n_failed} of {n} conditions failed; {rest}. What was done is kept in {folder}. "
        f"Mend the cause and run the same command again.{reasons}"
    )


def do(job: Job, progress: Progress, folder: Path, keep: bool, limits: Limits, fresh: bool = False) -> None:
    """Do a job in the folder of its run.

    Raises:
        BudgetError: a cap was reached; what was finished is kept.
    """
    budget = FileBudget(folder / "spending.jsonl", limits.max_usd)
    do_in(RunFolder(folder), budget, job, limits.checked(progress), keep, fresh)


def do_in(
    run_folder: RunFolder, budget: StagedBudget, job: Job, progress: Progress, keep: bool, fresh: bool = False
) -> None:
    """Tune, answer and judge. Each stage reads what the one before it wrote, and does only what is missing."""
    progress.advance(0)
    for condition in job.conditions:
        mending.write_condition(condition, run_folder)
    tuned = tune(job, run_folder, progress, budget.of(TUNING))
    if isinstance(tuned, NoCheckpoint):
        note_ending(job, tuned, run_folder, progress)
        let_go(job, run_folder, progress, keep)
        return
    for condition in job.conditions:
        answer(job, condition, tuned, run_folder, progress, budget.of(ANSWERS))
        measure_tasks(job, condition, tuned.get(epochs_of(condition)), run_folder)
    let_go(job, run_folder, progress, keep)
    for condition in job.conditions:
        judge_all(job, condition, run_folder, progress, budget, fresh)


def _named(condition: Condition) -> str:
    return f"{condition.name} (seed {condition.seed})"


def answer(
    job: Job,
    condition: Condition,
    tuned: Mapping[int, Tuned],
    run_folder: RunFolder,
    progress: Progress,
    budget: Budget,
) -> None:
    """Ask the prompts that have no answer yet."""
    condition_folder = run_folder.condition(condition.key)
    conversations = job.suite.conversations(job.templates[condition.key])
    answered = conversations.keys() - {prompt.id for prompt in missing_prompts(job.suite, condition_folder)}
    meter = Meter(progress, f"answering as {_named(condition)}", "prompts", len(conversations), ANSWER)
    meter.begin(len(answered))
    made = tuned.get(epochs_of(condition)) if job.training else None
    if made and lacks_record(job, condition_folder):
        condition_folder.write_training(made.training)
    if len(answered) == len(conversations):
        return
    checkpoint = made.checkpoint if made else job.base
    generator = job.generators[condition.key]
    stream = generator.answers(checkpoint, conversations, answered, condition.seed, budget)
    with condition_folder.adding_answers() as add, closing(stream) as batches:
        for answers in batches:
            add(answers)
            meter.advance(len(answers))


def judge_all(
    job: Job, condition: Condition, run_folder: RunFolder, progress: Progress, budget: StagedBudget, fresh: bool = False
) -> None:
    """Have every judge of every set judge the answers that have no verdict of it yet."""
    for found in run_folder.condition(condition.key).set_aside_verdicts():  # of answers that came out otherwise now
        progress.note(f"{found} {mending.AGAIN}")
    for set_name, measured in job.suite.sets.items():
        for judge in measured.judges:
            _judge(job, condition, set_name, judge, run_folder, progress, budget, fresh)


def _judge(
    job: Job, condition: Condition, set_name: str, judge: Judge, run_folder: RunFolder, progress: Progress,
    budget: StagedBudget, fresh: bool,
) -> None:  # fmt: skip
    """Add one judge's missing verdicts on one set; one that costs something is paid for only if the cache has none."""
    folder, benchmark = run_folder.condition(condition.key), job.suite.benchmarks[set_name]
    answers = folder.answers()
    missing = missing_verdicts(job.suite, folder, set_name, judge)
    pairs = [(prompt, answers[prompt.id]) for prompt in missing if is_readable(answers[prompt.id])]
    task = f"judging {set_name.replace('_', '-')} of {_named(condition)} by {label(judge)}"
    meter = Meter(progress, task, "answers", len(benchmark.prompts))
    meter.begin(len(benchmark.prompts) - len(pairs))
    models, its_budget = preflight.models_of(judge, run_folder), budget.of(label(judge))
    stream = cache.verdicts(judge, benchmark.policies, pairs, its_budget, fresh, models)
    with folder.adding_verdicts(set_name, label(judge)) as add, closing(stream) as batches:
        for verdicts in batches:
            add([replace(each, answer_digest=answers[each.prompt_id].digest) for each in verdicts])
            meter.advance(len(verdicts))
