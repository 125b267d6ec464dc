"""What must be so before rows with pictures are tuned on, and before a picture is shown beside requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from holdfast.core.errors import StudyError
from holdfast.core.pictures import MARK
from holdfast.core.types import Checkpoint, Example
from holdfast.models import visual
from holdfast.study.schema import ConditionSettings

KNOWN = ", ".join(visual.FAMILIES)
"""Kinds of models that see and are known here, as `model_type` names them."""


def text_of(row: Example) -> Example:
    """A row without its pictures."""
    turns = (replace(turn, content=turn.content.replace(MARK, ""), pictures=()) for turn in row.messages)
    return Example(tuple(turns), row.source) if _shows(row) else row


def _shows(row: Example) -> bool:
    return any(message.pictures for message in row.messages)


def check_rows(name: str, settings: ConditionSettings, base: Checkpoint, rows: Sequence[Example]) -> None:
    """Refuse to tune on pictures, or to ask with one, where the tuned model will not see.

    Raises:
        StudyError: naming the condition, and how to mend it.
    """
    shown = next(filter(_shows, rows), None)
    if shown is None and settings.picture is None:
        return
    what = f"its rows have pictures ({shown.source})" if shown else "it is asked with a `picture`"
    if settings.tune.base_url or base.served:
        raise StudyError(f"{name}: {what}, and only a model that is tuned on this machine can be shown any.")
    gets_eyes = getattr(settings.tune, "vision", None) is not None
    if not gets_eyes and not visual.sees(Path(base.base)):
        raise StudyError(
            f"{name}: {what}, but {base.base} does not see. Give it eyes with `vision` under `tune`, or take a model "
            f"that sees: {KNOWN}."
        )


def check_asking(name: str, settings: ConditionSettings, checkpoint: Checkpoint) -> None:
    """Refuse to show a picture to a model that does not see.

    Raises:
        StudyError: naming the condition.
    """
    if settings.picture is None:
        return
    folder = checkpoint.folder or Path(checkpoint.base)
    if checkpoint.served or not (visual.sees(folder) or visual.sees(Path(checkpoint.base))):
        raise StudyError(f"{name}: it is asked with a `picture`, but its model does not see ({KNOWN} do).")
