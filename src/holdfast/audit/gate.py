"""`holdfast gate`: may this tuned model ship? The decision on each tuned condition of a run or an audit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from holdfast.analysis.decision import decide, worst
from holdfast.audit.evidence import gather, order_of
from holdfast.audit.policy import Policy, read_policy
from holdfast.core.audit_record import AUDIT, DECISION, AuditRecord, Decision
from holdfast.core.files import write_atomically


def gate(
    folder: Path, policy: Policy | None = None, condition: str | None = None, seed: int | None = None
) -> list[Decision]:
    """The decision on each tuned condition of a finished run or audit.

    Args:
        folder: of the run or the audit.
        policy: the default if not given.
        condition: only this one.
        seed: the model of this seed alone; else all seeds of a condition together.

    Raises:
        RunFolderError: no such folder, condition or seed; no results; or a damaged file.
    """
    margins = (policy or read_policy(None)).margins()
    found = gather(folder, condition, seed)
    order = order_of(AuditRecord.read(folder).sequential) if (folder / AUDIT).is_file() else "at once"
    return [decide(evidence, margins, order) for evidence in found]


def write(folder: Path, decisions: Sequence[Decision]) -> Path:
    """Write decisions into `decision.json`, with the one that counts for all, and return its path."""
    first = worst(decisions)
    content = {
        "answer": first.answer, "exit_code": first.exit_code, "condition": first.condition,
        "sentence": first.sentence, "decisions": [asdict(decision) for decision in decisions],
    }  # fmt: skip
    write_atomically(folder / DECISION, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return folder / DECISION
