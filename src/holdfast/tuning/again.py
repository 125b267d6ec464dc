"""Tuned weights as the base of another tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holdfast.core.types import Checkpoint, Tuned
from holdfast.models import hub, loading
from holdfast.tuning import checkpoints


def as_base(made: Tuned, folder: Path) -> Checkpoint:
    """A tuned checkpoint as a base: its whole weights, or its adapter merged into its base and kept in the folder."""
    tuned = made.checkpoint
    weights = tuned.folder
    if weights is None or not hub.is_adapter(weights):
        return replace(tuned, base=str(weights or tuned.base), revision=None, folder=None)
    whole = checkpoints.base_in(folder, tuned)
    if whole.base == tuned.base:
        loaded = loading.load(tuned, "float32")
        draft = checkpoints.draft_base(folder)
        loaded.model.merge_and_unload().save_pretrained(draft)
        loaded.chat.save(draft)
        checkpoints.publish_base(folder)
        whole = checkpoints.base_in(folder, tuned)
    return replace(whole, folder=None)
