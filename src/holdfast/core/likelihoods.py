"""`likelihood.jsonl` of a condition's folder: how likely the base finds each answer. An audit writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from holdfast.core.jsonl import append_lines, read_records, set_aside_damaged
from holdfast.core.run_folder import ConditionFolder

FILE = "likelihood.jsonl"


@dataclass(frozen=True)
class FluencyRow:
    """A line of the file."""

    prompt_id: str
    answer_digest: str
    """The answer that it is about, as `Answer.digest` gives it."""
    fluency: float
    """Mean log-likelihood of a token under the base, in nats, without the first tokens."""


def read(folder: ConditionFolder) -> dict[str, float]:
    """Prompt id → how likely the base finds the answer that is there now, as far as it is known.

    Raises:
        RunFolderError: naming a line that is damaged.
    """
    answers = folder.answers()
    rows = read_records(folder.folder / FILE, FluencyRow)
    of_now = {row.prompt_id: row for row in rows if row.prompt_id in answers}
    return {name: row.fluency for name, row in of_now.items() if row.answer_digest == answers[name].digest}


def add(folder: ConditionFolder, by_prompt: Mapping[str, float]) -> None:
    """Append how likely the base finds answers that are there."""
    answers = folder.answers()
    rows = [FluencyRow(name, answers[name].digest, value) for name, value in by_prompt.items()]
    append_lines(folder.folder / FILE, map(asdict, rows))


def mend(folder: ConditionFolder) -> str:
    """Move damaged lines aside; says which they were, "" if none is damaged."""
    return set_aside_damaged(folder.folder / FILE, FluencyRow)
