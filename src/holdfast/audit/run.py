"""One audit, from top to bottom: ask both models → noise floor → likelihoods → figures → decision → audit.json."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

from holdfast.analysis.decision import decide
from holdfast.audit import blocks, compare, noise, proof, soundness
from holdfast.audit.compare import Compared
from holdfast.audit.evidence import order_of
from holdfast.audit.kept import Kept
from holdfast.audit.policy import Policy
from holdfast.audit.setup import TUNED, Request, Setup, prepare
from holdfast.core.audit_record import AUDIT, AUDIT_SCHEMA, AuditRecord, Sequential
from holdfast.core.budget import FileBudget
from holdfast.core.protocols import Watcher
from holdfast.core.results import Caution, RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Condition
from holdfast.core.version import __version__
from holdfast.core.workers import quiet
from holdfast.report import page
from holdfast.study import preflight
from holdfast.study import run as runner
from holdfast.study.limits import NO_LIMITS, Limits
from holdfast.study.pending import is_finished
from holdfast.study.plan import Job, Plan
from holdfast.study.results import facts
from holdfast.study.results.evidence import Evidence
from holdfast.study.results.rows import answer_rows
from holdfast.study.results.summary import summarise


@dataclass(frozen=True)
class Audited:
    """A finished audit."""

    record: AuditRecord
    results: RunResults
    run_folder: RunFolder


@dataclass(frozen=True)
class _Work:
    """What asking needs."""

    run_folder: RunFolder
    budget: FileBudget
    workers: int
    watcher: Watcher
    limits: Limits


@dataclass(frozen=True)
class _Asked:
    """What was asked."""

    plan: Plan
    again: Condition
    changes: tuple[str, ...]
    reused: dict[str, int]
    sequential: Sequential | None


def audit(
    request: Request, policy: Policy, folder: Path, workers: int, watcher: Watcher,
    limits: Limits = NO_LIMITS, replace_results: bool = False,
) -> Audited:  # fmt: skip
    """Ask both models what is not asked yet, compare, decide, and write `results.json` and `audit.json`.

    Raises:
        HoldfastError: as `study.run.run`; or models and benchmarks that cannot be audited.
    """
    begun = time.monotonic()
    quiet()
    setup = prepare(request)
    run_folder = RunFolder(folder)
    amend = partial(blocks.in_blocks, seed=request.seeds[0]) if request.sequential else None
    with runner.opened(setup.study, None, run_folder, setup.draws, watcher, replace_results, amend) as plan:
        (folder / AUDIT).unlink(missing_ok=True)  # what an earlier audit found is no part of this one
        work = _Work(run_folder, FileBudget(folder / "spending.jsonl", limits.max_usd), workers, watcher, limits)
        asked = _ask(request, policy, plan, work)
        logit_change = soundness.look_at(asked.plan, run_folder)
        _keep(plan, asked, run_folder)
        results = summarise(asked.plan, run_folder, work.budget, preflight.checks(asked.plan, run_folder))
        results = replace(results, evidence=facts.evidence_key(plan))  # of the whole plan, however much was asked
        runner.write_prompts(run_folder, asked.plan)
        results.write(folder)
        record = _record(request, policy, setup, asked, results, run_folder, logit_change)
        record = replace(record, timings={"seconds": round(time.monotonic() - begun, 1)})
        record.write(folder)
    return Audited(record, results, run_folder)


def _ask(request: Request, policy: Policy, plan: Plan, work: _Work) -> _Asked:
    """Ask and judge what neither this folder nor an earlier audit of the same base has."""
    initial = [job for job in plan.jobs if job.conditions[0].role == "initial"]
    again, changes = noise.job(plan, initial[0])
    kept, reused = Kept(plan.suite, _device(plan)), dict[str, int]()
    for condition in (*_conditions(initial), *again.conditions):
        if n := kept.fetch(condition, work.run_folder):
            reused[condition.name] = reused.get(condition.name, 0) + n
    if reused:
        answers = f"{sum(reused.values()):,} answers of {plan.study.model}"
        work.watcher.note(f"{answers} are reused from an earlier audit.")
    sequential = None
    if request.sequential:
        preflight.check_judges(_missing(plan.jobs, work.run_folder), work.run_folder, work.budget, work.watcher)
        ask = partial(_ask_part, work=work)
        outcome = blocks.until_clear(
            plan, request.seeds[0], policy.margins(), work.run_folder, ask, work.watcher
        )  # fmt: skip
        plan, sequential = outcome.plan, outcome.sequential
        again = noise.job(plan, next(job for job in plan.jobs if job.conditions[0].role == "initial"))[0]
    missing = _missing((*plan.jobs, again), work.run_folder)
    if missing:
        runner.work_off(missing, work.run_folder, work.budget, work.workers, work.watcher, limits=work.limits)
    return _Asked(plan, again.conditions[0], changes, reused, sequential)


def _missing(jobs: Sequence[Job], run_folder: RunFolder) -> list[Job]:
    return [job for job in jobs if not is_finished(job, run_folder)]


def _ask_part(plan: Plan, watcher: Watcher, work: _Work) -> None:
    """Ask part of the prompts, in this process, where the models are."""
    if missing := _missing(plan.jobs, work.run_folder):
        runner.finish(missing, work.run_folder.folder, 1, watcher, False, work.limits, False)
    soundness.write_fluencies(plan, work.run_folder)


def _conditions(jobs: Sequence[Job]) -> list[Condition]:
    return [condition for job in jobs for condition in job.conditions]


def _device(plan: Plan) -> str:
    """Where answers are generated, for answers differ a little between devices."""
    if not soundness.is_here(plan):
        return "server"
    from holdfast.models import loading

    return loading.best_device()


def _keep(whole: Plan, asked: _Asked, run_folder: RunFolder) -> None:
    """Keep what the base said for audits to come."""
    kept = Kept(whole.suite, _device(whole))
    initial = {each.key: each for each in asked.plan.conditions if each.role == "initial"}
    for condition in (*initial.values(), asked.again):
        kept.keep(condition, run_folder)


def _record(
    request: Request, policy: Policy, setup: Setup, asked: _Asked, results: RunResults, run_folder: RunFolder,
    logit_change: float | None,
) -> AuditRecord:  # fmt: skip
    """All that `audit.json` holds."""
    plan, evidence = asked.plan, Evidence(asked.plan, run_folder)
    first = next(condition for condition in plan.conditions if condition.role == "initial")
    floor = noise.measure(evidence, first, asked.again, asked.changes)
    kinds, least = soundness.kinds(plan, run_folder)
    compared = Compared(evidence, kinds, least, floor)
    prompts = compare.prompt_changes(compared)
    proven = proof.prove(setup, plan, logit_change, asked.reused)
    rests_on = compare.decision_evidence(compared, compare.judge_faults(results), floor.floor_rate)
    return AuditRecord(
        schema=AUDIT_SCHEMA,
        holdfast=__version__,
        date=date.today().isoformat(),
        name=plan.study.name,
        decision=decide(rests_on, policy.margins(), order_of(asked.sequential)),
        figures=compare.figures(compared),
        flips=compare.flips(prompts),
        prompts=prompts,
        by_category=compare.by_category(compared, prompts),
        broken=compare.broken_answers(compared),
        wording=compare.wording(compared),
        noise=floor,
        agreement=results.agreement,
        directions=compare.directions(compared),
        smallest_difference=compare.smallest_differences(compared, policy.alpha, policy.power),
        proof=proven,
        seeds=request.seeds,
        samples=request.samples,
        cautions=_cautions(setup, results, proven.descent, logit_change),
        usd=results.costs.usd,
        sequential=asked.sequential,
    )


def _cautions(
    setup: Setup, results: RunResults, descent: Sequence[str], logit_change: float | None
) -> tuple[Caution, ...]:
    """What a reader must know: of the run, and of the two models."""
    # An audit is of one tuned model, and says nothing about other seeds of its recipe.
    of_run = [caution for caution in results.cautions if caution.kind != "one-seed"]
    own = [Caution("template", TUNED, doubt) for doubt in setup.doubts]
    own += [Caution("no-descendant", TUNED, f"the tuned model may not come from the base: {sign}") for sign in descent]
    if logit_change == 0.0:
        own.append(Caution("no-change", TUNED, "the tuned model gives exactly the base's logits: nothing was tuned"))
    rates = {entry.role: entry.harmfulness_rate.value or 0.0 for entry in results.summary}
    if rates["initial"] > 20.0 and rates["tuned"] < rates["initial"] / 2:
        text = "the base is more harmful than the tuned model: are the two arguments swapped?"
        own.append(Caution("swapped", TUNED, text))
    return (*own, *of_run)


def write_page(audited: Audited, show_answers: bool) -> Path:
    """Write `report.html`, with the answers only if `show_answers` is set."""
    folder = audited.run_folder
    transcripts = list(answer_rows(audited.results, folder)) if show_answers else None
    return folder.write("report.html", page.render_audit(audited.record, audited.results, transcripts))


def read(folder: Path) -> Audited:
    """A finished audit's folder.

    Raises:
        RunFolderError: it holds none, or one that this version cannot read.
    """
    return Audited(AuditRecord.read(folder), RunFolder(folder).results(), RunFolder(folder))
