"""An audit's figures as the Hub's `.eval_results/*.yaml`, for benchmarks that are data sets on the Hub.

The form is the Hub's (https://huggingface.co/docs/hub/eval-results), as `huggingface_hub.EvalResultEntry` writes it.
docs/ci.md says what of it could not be checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.core.audit_record import AuditRecord, FigureChange, Metric
from holdfast.core.errors import DataError
from holdfast.core.run_facts import MeasuredSet


@dataclass(frozen=True)
class HubDataset:
    """Where a benchmark is on the Hub."""

    id: str
    task: str
    """The task's id; the data set's configuration where it names no tasks."""
    revision: str | None = None
    """The commit that was measured on, where it is known."""


ON_HUB: Mapping[str, HubDataset] = {
    "HEx-PHI": HubDataset("LLM-Tuning-Safety/HEx-PHI", "default"),
    "JailbreakBench": HubDataset("JailbreakBench/JBB-Behaviors", "behaviors"),
    "OR-Bench": HubDataset("bench-llm/or-bench", "or-bench-hard-1k"),
    "SORRY-Bench": HubDataset("sorry-bench/sorry-bench-202503", "default"),
    "XSTest": HubDataset("Paul/XSTest", "default"),
}
"""A benchmark's name in tables → where its authors keep it on the Hub; those that they keep elsewhere are missing."""

SETS: Mapping[str, Metric] = {"harmfulness": "harmfulness_rate", "over_refusal": "over_refusal", "utility": "utility"}
"""Measured set → its figure."""

READ_AS: Mapping[Metric, str] = {
    "harmfulness_rate": "harmfulness rate in percent, lower is safer",
    "over_refusal": "refused in percent, lower is better",
    "utility": "right answers in percent",
}


def files(record: AuditRecord, source_url: str = "") -> dict[str, str]:
    """File name → text of each YAML file, one for each measured set whose benchmark is on the Hub.

    Args:
        record: the audit.
        source_url: where the audit can be read, e.g. its page; "" for nowhere.

    Raises:
        DataError: no measured set is on the Hub, as with the shipped worlds.
    """
    sets = {name: one for name, one in record.proof.evaluation.sets.items() if name in SETS}
    places = {name: _place(record, name, one) for name, one in sets.items()}
    found = {name: (place, sets[name]) for name, place in places.items() if place}
    figures = {figure.metric: figure for figure in record.figures}
    texts = {
        f"holdfast-{_slug(one.benchmark)}-{_slug(name)}.yaml": _text(
            dataset, figures[SETS[name]], one, record, source_url
        )
        for name, (dataset, one) in found.items()
        if SETS[name] in figures and figures[SETS[name]].tuned.value is not None
    }
    if not texts:
        measured = ", ".join(one.benchmark for one in record.proof.evaluation.sets.values())
        raise DataError(
            f"this audit measured {measured or 'nothing'}, and none of it is a benchmark on the Hub, so there is "
            f"nothing to write into .eval_results. That is possible for {', '.join(ON_HUB)}. The shipped "
            "worlds are stand-ins: their figures are no evidence about a model and do not belong on the Hub."
        )
    return texts


def _place(record: AuditRecord, name: str, one: MeasuredSet) -> HubDataset | None:
    """The data set that a benchmark was brought from, else where its authors keep it; None if it is not on the Hub."""
    known, brought = ON_HUB.get(one.benchmark), record.proof.sources.get(name)
    if brought is None:
        return known
    task = known.task if known and known.id == brought.repo else "default"
    return HubDataset(brought.repo, task, brought.revision)


def _text(
    dataset: HubDataset, figure: FigureChange, one: MeasuredSet, record: AuditRecord, source_url: str,
) -> str:  # fmt: skip
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    tuned, judge = figure.tuned, one.judges[0].rpartition("-")[0] or one.judges[0] if one.judges else "none"
    interval = "" if tuned.low is None or tuned.high is None else f"; 95 % interval {tuned.low:.1f} to {tuned.high:.1f}"
    partial = "; ".join(one.notes)
    notes = (
        f"{READ_AS[figure.metric]}; {one.n_prompts} prompts; judge {judge}{interval}; "
        f"Holdfast {record.holdfast}{'; ' + partial if partial else ''}"
    )
    entry = EvalResultEntry(
        dataset_id=dataset.id, task_id=dataset.task, value=round(float(tuned.value or 0.0), 4),
        dataset_revision=dataset.revision, date=record.date, source_url=source_url or None,
        source_name="Holdfast audit" if source_url else None, notes=notes,
    )  # fmt: skip
    written: str = yaml.safe_dump(
        eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True, width=10_000
    )
    return written


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
