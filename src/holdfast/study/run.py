"""The composition: study → conditions → tune → answer → judge → figures → page. Read it from top to bottom."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.core.budget import FileLedger
from holdfast.core.config import label
from holdfast.core.errors import BudgetError, WorkError
from holdfast.core.protocols import Ledger, Report, Watcher
from holdfast.core.run_folder import Store
from holdfast.core.types import Condition, Tuned
from holdfast.core.workers import Failure, work_through
from holdfast.judges import cache
from holdfast.report import page
from holdfast.study import costs, preflight
from holdfast.study.plan import Plan, Work, epochs_of, make_plan, questions
from holdfast.study.results.summary import (
    evidence_key,
    is_answered,
    is_finished,
    is_readable,
    judged,
    prompt_rows,
    summarise,
    transcripts,
)
from holdfast.study.schema import Study


@dataclass(frozen=True)
class Limits:
    """Caps that a run keeps."""

    max_usd: float | None = None
    """US dollars that the run's folder may cost in all."""
    deadline: float | None = None
    """Seconds since the epoch after which nothing more is begun."""

    def kept(self, report: Report) -> Report:
        """A report that stops the work once the time is over."""

        def checked(units: int) -> None:
            report(units)
            if self.deadline is not None and time.time() > self.deadline:
                raise BudgetError(
                    "the time that --max-hours allows is over. What was finished is kept; the same command goes on."
                )

        return checked


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Finished:
    """A run that has done all there was to do."""

    plan: Plan
    store: Store
    results: dict[str, Any]
    """What `results.json` holds."""
    changed: bool
    """Whether the figures are other than the folder held before."""


def run(
    study: Study,
    source: str,
    folder: Path,
    seeds: Sequence[int],
    workers: int,
    watcher: Watcher,
    keep: bool = False,
    limits: Limits = NO_LIMITS,
    fresh_verdicts: bool = False,
) -> Finished:
    """Do what is missing of a study, and write its results into a folder; `fresh_verdicts` buys all verdicts anew.

    Raises:
        JudgeError: a judge that is to be paid misreads what nobody can misread.
        HoldfastError: bad input, before anything is tuned; or a WorkError that names what failed, after
            everything else was finished.
    """
    store = Store(folder)
    with store.lock():
        plan = make_plan(study, seeds)
        store.write("study.yaml", source)
        store.write("prompts.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in prompt_rows(plan)))
        missing = [work for work in plan.works if not is_finished(work, store)]
        ledger = FileLedger(folder / "spending.jsonl", limits.max_usd)
        if missing:
            if most := costs.foreseen(missing, store):
                watcher.note(f"At most ${sum(most.values()):.4f}: {costs.told(most)}.")
            preflight.check_judges(missing, store, ledger, watcher)
            finish(missing, folder, workers, watcher, keep, limits, fresh_verdicts)
        elif store.has_results() and store.results().get("evidence") == evidence_key(plan):
            return Finished(plan, store, store.results(), changed=False)
        results = summarise(plan, store)
        results["costs"] = costs.spent(plan, store, ledger)
        results["judges"] = preflight.checks(plan, store)
        store.write("results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return Finished(plan, store, results, changed=True)


def write_page(store: Store, results: dict[str, Any], show_answers: bool) -> Path:
    """Write `report.html` from the results, with the answers only if asked for."""
    return store.write("report.html", page.render(results, transcripts(results, store) if show_answers else None))


def finish(
    works: Sequence[Work], folder: Path, workers: int, watcher: Watcher, keep: bool, limits: Limits, fresh: bool
) -> None:
    """Do pieces of work in worker processes.

    Raises:
        WorkError: naming the conditions that failed, and why; the others are finished.
    """
    watcher.begin(sum(work.size() for work in works))
    failures: dict[str, list[str]] = {}
    longest_first = sorted(works, key=lambda work: -work.size())
    job = partial(do, folder=folder, keep=keep, limits=limits, fresh=fresh)
    for outcome in work_through(job, longest_first, min(workers, len(works)), watcher.advance):
        if isinstance(outcome, Failure):
            names = [f"{c.name} (seed {c.seed})" for c in longest_first[outcome.place].conditions]
            failures.setdefault(f"{outcome.reason}\n{outcome.trace}".rstrip(), []).extend(names)
        else:
            watcher.finished(longest_first[outcome].conditions)
    if failures:
        named = [f"{', '.join(names)}: {reason}" for reason, names in failures.items()]
        n_failed, n = sum(map(len, failures.values())), sum(len(work.conditions) for work in works)
        raise WorkError(
            f"{n_failed} of {n} conditions failed; the others are finished and kept in {folder}. "
            "Mend the cause and run the same command again.\n  " + "\n  ".join(named)
        )


def do(work: Work, report: Report, folder: Path, keep: bool, limits: Limits, fresh: bool = False) -> None:
    """Tune, answer and judge, each from what the stage before it wrote; done parts are passed over.

    Raises:
        BudgetError: a cap was reached; what was finished is kept.
    """
    store = Store(folder)
    ledger = FileLedger(folder / "spending.jsonl", limits.max_usd)
    report = limits.kept(report)
    report(0)
    for condition in work.conditions:
        store.condition(condition.key).write_condition(
            {"name": condition.name, "key": condition.key, "training": condition.training, "asking": condition.asking}
        )
    tuned = tune(work, store, report)
    for condition in work.conditions:
        answer(work, condition, tuned, store, report, ledger.of(costs.ANSWERS))
    answered = all(is_answered(work, condition, store) for condition in work.conditions)
    if work.training and answered and not keep:
        store.discard_checkpoints(work.training.run)
    for condition in work.conditions:
        judge(work, condition, store, report, ledger, fresh)


def tune(work: Work, store: Store, report: Report) -> Mapping[int, Tuned]:
    """The checkpoints that are still to be asked, by epoch; an earlier run may have left some."""
    training = work.training
    if training is None:
        return {}
    epochs = sorted({epochs_of(condition) for condition in work.conditions if not is_answered(work, condition, store)})
    reported = []

    def count(steps: int) -> None:
        reported.append(steps)
        report(steps)

    tuned: dict[int, Tuned] = {}
    if epochs:
        folder = store.checkpoints(training.run)
        tuned = training.tuner.tune(work.base, training.rows, training.seed, epochs, folder, count)
    steps = training.tuner.steps(len(training.rows), max(map(epochs_of, work.conditions)))
    report(steps - sum(reported))
    return tuned


def answer(
    work: Work, condition: Condition, tuned: Mapping[int, Tuned], store: Store, report: Report, ledger: Ledger
) -> None:
    """Ask what has no answer yet."""
    place = store.condition(condition.key)
    done = {name for name, given in place.answers().items() if given.outcome != "backend_error"}
    report(len(done))
    asked = questions(work.asked, work.templates[condition.key])
    if asked.keys() <= done:
        return
    checkpoint = work.base
    if work.training:
        made = tuned[epochs_of(condition)]
        checkpoint = made.checkpoint
        place.write_training(made.training)
    generator = work.generators[condition.key]
    with closing(generator.answers(checkpoint, asked, done, condition.seed, ledger)) as replies:
        for answers in replies:
            place.add_answers(answers)
            report(len(answers))


def judge(
    work: Work, condition: Condition, store: Store, report: Report, ledger: FileLedger, fresh: bool = False
) -> None:
    """Judge what came back and has no verdict yet; what costs something is bought only where the book has none."""
    place = store.condition(condition.key)
    answers = place.answers()
    for name, measured in work.asked.sets.items():
        benchmark = work.asked.benchmarks[name]
        readable = [prompt for prompt in benchmark.prompts if is_readable(answers[prompt.id])]
        for reader in measured.judges:
            done = judged(place.verdicts(name, label(reader)))
            report(len(benchmark.prompts) - len(readable) + len(done))
            missing = [(prompt, answers[prompt.id]) for prompt in readable if prompt.id not in done]
            models, purse = preflight.models_of(reader, store), ledger.of(label(reader))
            bought = cache.verdicts(reader, benchmark.policies, missing, purse, fresh, models)
            with closing(bought) as read:
                for verdicts in read:
                    place.add_verdicts(name, label(reader), verdicts)
                    report(len(verdicts))
