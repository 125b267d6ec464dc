"""A provider's fine-tuning jobs, as a page shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.core.results import RunResults
from holdfast.report.layout import cost

NO_JOB = "none"
"""In the place of a job's id, where the provider refused the rows before there was one."""


@dataclass(frozen=True)
class HostedJob:
    """A provider's fine-tuning job, as a row of a table."""

    condition: str
    seed: int
    job: str
    outcome: str
    """`succeeded`, or why there is no model."""
    tokens: int
    usd: float
    deleted: str
    """What the provider confirmed to have deleted, and what it has not."""


def hosted_jobs(results: RunResults) -> list[HostedJob]:
    """The fine-tuning jobs of a run's providers, by condition and seed."""
    rows = [
        (name, seed, record)
        for name, facts in results.settings.items()
        for seed, record in zip(results.seeds, facts.training, strict=False)
    ]
    return [_hosted_job(*row) for row in rows if "provider" in row[2]]


def totals(results: RunResults) -> str:
    """What all jobs and answers took: tokens, and US dollars where a price is known."""
    jobs = {row.job: row for row in hosted_jobs(results) if row.job != NO_JOB}
    trained, costs = sum(job.tokens for job in jobs.values()), results.costs
    said = [f"{len(jobs):,} job{'' if len(jobs) == 1 else 's'} trained {trained:,} tokens."]
    if costs.answer_tokens:
        asked, generated = f"{costs.prompt_tokens:,}", f"{costs.answer_tokens:,}"
        said.append(f"The answers of all models took {asked} prompt tokens and {generated} generated ones.")
    said.append(cost(results) if costs.usd > 0 else "No price is given, so the cost is not known.")
    return " ".join(said)


def _hosted_job(name: str, seed: int, record: Mapping[str, Any]) -> HostedJob:
    counts = {"deleted": record.get("deleted"), "not deleted": record.get("not_deleted")}
    said = [f"{len(each)} {word}" for word, each in counts.items() if isinstance(each, dict) and each]
    return HostedJob(
        name, seed, str(record.get("job") or NO_JOB), str(record.get("outcome") or "succeeded"),
        int(_amount(record.get("trained_tokens"))), _amount(record.get("usd")), ", ".join(said) or "kept",
    )  # fmt: skip


def _amount(value: object) -> float:
    """A number of a training record, which may come from somebody else's file."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
