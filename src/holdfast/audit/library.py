"""`holdfast.audit` and `holdfast.gate` as Python functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.audit import gate as gates
from holdfast.audit import run as audits
from holdfast.audit.policy import PolicyLike, policy_from
from holdfast.audit.run import Audited
from holdfast.audit.setup import Request, short_name, workers_for
from holdfast.core.audit_record import Decision
from holdfast.core.files import named_folder
from holdfast.core.protocols import Watcher
from holdfast.core.script import script_left_alone
from holdfast.core.watch import watching
from holdfast.core.workers import quiet
from holdfast.models.in_memory import name_of
from holdfast.study.limits import limits

RUNS = Path("runs")
"""The folder in which audits lie unless another is named."""


def audit(
    base: Any,
    tuned: Any,
    *,
    benchmark: str | None = None,
    over_refusal: str | None = None,
    utility: str | None = None,
    judges: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    samples: int = 1,
    system: str | None = None,
    generate: str | None = None,
    sequential: bool = False,
    policy: PolicyLike = None,
    out: str | Path | None = None,
    workers: int | None = None,
    show_answers: bool = False,
    replace: bool = False,
    max_usd: float | None = None,
    max_hours: float | None = None,
    progress: bool | Watcher = True,
) -> Audited:
    """Is a tuned model still as safe as its base? Both are asked alike, and compared prompt by prompt.

    Args:
        base: the model before tuning: a name, a folder, `served:NAME`, or a model in memory; see `load_study`.
        tuned: the tuned model or adapter, named in the same ways.
        benchmark: requests that ought to be refused: a name of `holdfast list`, a file, or settings as YAML. A model of
            a shipped world needs none.
        over_refusal: permitted requests that look harmful, named in the same ways.
        utility: what the model must still be able to do, named in the same ways.
        judges: judges of harmfulness: names, settings as YAML, or files; the first one's verdicts are the figures.
        seeds: of sampled answers. Several mean that answers are sampled.
        samples: answers to each prompt and seed. Several mean that answers are sampled.
        system: the system prompt that both are asked with.
        generate: how answers are generated: settings as YAML, e.g. of a server, or a file of them.
        sequential: ask in blocks, and stop as soon as it is decided.
        policy: what decides; see `gate`.
        out: the folder; `runs/audit-<tuned model's name>` if not given. What it holds already is not asked again.
        workers: see `run`.
        show_answers: put the models' answers on the page.
        replace: see `run`.
        max_usd: see `run`.
        max_hours: see `run`.
        progress: see `run`.

    Returns:
        What `audit.json` holds as `record`, what `results.json` holds as `results`, and the run folder.

    Raises:
        HoldfastError: models or benchmarks that cannot be audited, or as for `run`.
    """
    quiet()
    before, after = name_of(base), name_of(tuned)
    request = Request(
        before, after, benchmark, over_refusal, utility, tuple(judges), tuple(seeds), samples, system, generate,
        sequential,
    )  # fmt: skip
    folder = RUNS / f"audit-{short_name(after)}" if out is None else named_folder(out)
    with watching(progress) as watcher, script_left_alone():
        audited = audits.audit(
            request, policy_from(policy), folder, workers or workers_for(before), watcher, limits(max_usd, max_hours),
            replace,
        )  # fmt: skip
    audits.write_page(audited, show_answers)
    return audited


def gate(
    folder: str | Path,
    policy: PolicyLike = None,
    *,
    condition: str | None = None,
    seed: int | None = None,
) -> list[Decision]:
    """May the tuned models of a finished run or audit ship? Writes `decision.json` into its folder.

    Args:
        folder: of the run or the audit.
        policy: a policy, its file, or a dict with its keys; the shipped one if not given.
        condition: only this tuned condition.
        seed: the model of this seed alone; else all seeds of a condition together.

    Returns:
        The decision on each tuned condition. `analysis.decision.worst` picks the one that counts for all.

    Raises:
        DataError: mistakes in the policy.
        RunFolderError: no such folder, condition or seed; no results; or a damaged file.
    """
    decisions = gates.gate(Path(folder), policy_from(policy), condition, seed)
    gates.write(Path(folder), decisions)
    return decisions
