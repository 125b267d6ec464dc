"""The files that `holdfast gate` writes for others: CI systems, pull requests, model cards and the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.audit_record import AuditRecord, Decision


@dataclass(frozen=True)
class Wanted:
    """Which files are asked for; None for those that are not."""

    junit: Path | None
    summary: Path | None
    model_card: Path | None
    eval_results: Path | None
    """A model's folder, in which `.eval_results/` is written."""
    source_url: str
    """Where a reader finds the audit; "" for nowhere."""


def write(folder: Path, decisions: Sequence[Decision], wanted: Wanted) -> Iterator[tuple[str, Path]]:
    """Write the files that are asked for; gives the name and path of each.

    Raises:
        RunFolderError: a model card or `.eval_results` are asked for, and the folder is no audit's.
        DataError: the model card's markers are broken, or no benchmark is on the Hub.
    """
    from holdfast.core.files import write_atomically
    from holdfast.report import junit, summary

    record = _record(folder, wanted)
    if wanted.junit:
        write_atomically(wanted.junit, junit.render(decisions, record.name if record else folder.name, _date(record)))
        yield "JUnit XML", wanted.junit
    if wanted.summary:
        write_atomically(wanted.summary, summary.render(decisions, record, _links(folder)))
        yield "Summary", wanted.summary
    if wanted.model_card and record:
        yield "Model card", _model_card(wanted.model_card, record, decisions[0])
    if wanted.eval_results and record:
        from holdfast.report import eval_results

        for name, content in eval_results.files(record, wanted.source_url).items():
            path = wanted.eval_results / ".eval_results" / name
            write_atomically(path, content)
            yield "Hub results", path


def _record(folder: Path, wanted: Wanted) -> AuditRecord | None:
    """The audit in a folder; None where it is a study's run."""
    from holdfast.core.audit_record import AUDIT, AuditRecord
    from holdfast.core.errors import RunFolderError

    if (folder / AUDIT).is_file():
        return AuditRecord.read(folder)
    if wanted.model_card or wanted.eval_results:
        raise RunFolderError(
            f"{folder} is the folder of a study's run, and model cards and .eval_results are about one tuned model. "
            "Audit it: `holdfast audit BASE TUNED --out DIR`, then `holdfast gate DIR`."
        )
    return None


def _date(record: AuditRecord | None) -> str:
    return record.date if record else ""


def _links(folder: Path) -> dict[str, str]:
    names = {"page": "report.html", "audit": "audit.json", "results": "results.json"}
    return {name: str(folder / file) for name, file in names.items() if (folder / file).is_file()}


def _model_card(path: Path, record: AuditRecord, decision: Decision) -> Path:
    from holdfast.core.files import read_text, write_atomically
    from holdfast.report import model_card

    card = read_text(path) if path.is_file() else ""
    write_atomically(path, model_card.updated(card, model_card.section(record, decision)))
    return path
