"""`--sequential`: harmfulness prompts are asked one block at a time, until the answer is clear.

Each block holds every category in proportion, in an order drawn from a seed (`analysis/sequential.blocks`). After each
block the margins are tested in a way that may be looked at as often as one likes. Over-refusal and utility are asked
once the harmfulness prompts do not already fail the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from holdfast.analysis.decision import decide
from holdfast.analysis.margins import Margins
from holdfast.analysis.sequential import blocks
from holdfast.audit import compare, noise, soundness
from holdfast.audit.compare import Compared
from holdfast.core.audit_record import Sequential
from holdfast.core.progress import Activity
from holdfast.core.protocols import Watcher
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Benchmark, Condition, Prompt
from holdfast.models import cached
from holdfast.study.plan import Job, Plan
from holdfast.study.results.evidence import Evidence
from holdfast.study.suite import EvalSuite

HARMFULNESS = "harmfulness"

Ask = Callable[[Plan, Watcher], None]
"""Asks and judges what a plan has missing, and writes how likely the base finds the answers."""


@dataclass(frozen=True)
class Outcome:
    """How far the questions went."""

    plan: Plan
    """The plan with the prompts that were asked."""
    sequential: Sequential


def in_blocks(plan: Plan, seed: int) -> Plan:
    """A plan whose conditions say that they are asked in blocks.

    Which prompts are answered together can change an answer. So these answers are kept apart from those that were asked
    all at once.
    """
    renamed = {each.key: replace(each, asking={**each.asking, "blocks": seed}) for each in plan.conditions}
    jobs = tuple(_rekeyed(job, renamed) for job in plan.jobs)
    return replace(plan, conditions=tuple(_renamed(each, renamed) for each in plan.conditions), jobs=jobs)


def _renamed(condition: Condition, renamed: dict[str, Condition]) -> Condition:
    return replace(condition, asking=renamed[condition.key].asking)


def _rekeyed(job: Job, renamed: dict[str, Condition]) -> Job:
    new = {old: condition.key for old, condition in renamed.items()}
    return replace(
        job,
        conditions=tuple(_renamed(condition, renamed) for condition in job.conditions),
        templates={new[key]: template for key, template in job.templates.items()},
        generators={new[key]: generator for key, generator in job.generators.items()},
    )


def part_of(plan: Plan, names: Sequence[str], prompts: Sequence[Prompt] | None = None) -> Plan:
    """A plan that asks only some sets, and of harmfulness only some prompts."""
    benchmarks = {name: plan.suite.benchmarks[name] for name in names}
    if prompts is not None:
        benchmarks[HARMFULNESS] = _some(plan.suite.benchmarks[HARMFULNESS], prompts)
    suite = EvalSuite({name: plan.suite.sets[name] for name in names}, benchmarks)
    return replace(plan, suite=suite, jobs=tuple(replace(job, suite=suite) for job in plan.jobs))


def _some(whole: Benchmark, prompts: Sequence[Prompt]) -> Benchmark:
    chosen = {prompt.id for prompt in prompts}
    kept = tuple(prompt for prompt in whole.prompts if prompt.id in chosen)
    if len(kept) == len(whole.prompts):
        return whole
    note = f"{len(kept):,} of {len(whole.prompts):,} prompts were asked, in blocks: then the answer was clear"
    return replace(whole, prompts=kept, notes=(*whole.notes, note))


def until_clear(plan: Plan, seed: int, margins: Margins, run_folder: RunFolder, ask: Ask, watcher: Watcher) -> Outcome:
    """Ask block by block until the harmfulness prompts decide, and then the other sets if they can still matter."""
    whole = plan.suite.benchmarks[HARMFULNESS].prompts
    order = blocks([prompt.category for prompt in whole], seed)
    others = [name for name in plan.suite.sets if name != HARMFULNESS]
    asked: list[Prompt] = []
    stopped: Literal["pass", "fail", "all asked"] = "all asked"
    with _loaded(plan):
        for number, block in enumerate(order, 1):
            now = [whole[row] for row in block]
            ask(part_of(plan, [HARMFULNESS], now), _OneOf(watcher, number, len(order)))
            asked += now
            answer = _so_far(part_of(plan, [HARMFULNESS], asked), margins, run_folder)
            if answer in ("pass", "fail"):
                stopped = "fail" if answer == "fail" else "pass"
                break
        sets = [HARMFULNESS] if stopped == "fail" else [HARMFULNESS, *others]
        final = part_of(plan, sets, asked)
        if len(sets) > 1:
            ask(part_of(plan, others), watcher)
    return Outcome(final, Sequential(len(asked), len(whole), stopped))


def _so_far(plan: Plan, margins: Margins, run_folder: RunFolder) -> str:
    """What the harmfulness prompts that were asked so far say."""
    kinds, least = soundness.kinds(plan, run_folder)
    compared = Compared(Evidence(plan, run_folder), kinds, least, noise.NOT_MEASURED)
    required = tuple(metric for metric in margins.required if metric not in ("utility", "over_refusal"))
    evidence = compare.decision_evidence(compared, (), None)
    return decide(evidence, replace(margins, required=required), "so far").answer


@contextmanager
def _loaded(plan: Plan) -> Iterator[None]:
    """Both models stay in memory from block to block."""
    checkpoints = {job.base for job in plan.jobs} if soundness.is_here(plan) else set()
    held = [cached.load(checkpoint) for checkpoint in checkpoints if not checkpoint.served]
    try:
        yield
    finally:
        held.clear()


@dataclass(frozen=True)
class _OneOf:
    """Shows the progress of one block among several, as a line for each."""

    watcher: Watcher
    number: int
    total: int

    def begin(self, total: int) -> None:
        """A block begins."""
        self.watcher.note(f"block {self.number} of at most {self.total}")

    def advance(self, units: int) -> None:
        """The units of blocks that may not come are not known."""

    def show(self, piece: int, activity: Activity | None) -> None:
        """What is going on."""
        self.watcher.show(piece, activity)

    def finished(self, conditions: Any) -> None:
        """A condition is finished for this block only."""

    def note(self, text: str) -> None:
        """Show a line."""
        self.watcher.note(text)
