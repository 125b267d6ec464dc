"""Judges that are models on this machine: loaded once in a process, for they read one condition after another."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from holdfast.core.files import locate
from holdfast.core.types import Checkpoint
from holdfast.models import hub, loading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def _beside_the_study(name: Any, info: ValidationInfo) -> Any:
    """A folder's absolute path; anything else as it is, for it may be a Hub id, or not be there yet."""
    if not isinstance(name, str):
        return name
    folder = locate(name, (info.context or {}).get("folder"))
    return str(folder.resolve()) if folder.is_dir() else name


ModelName = Annotated[str, BeforeValidator(_beside_the_study)]
"""A model's folder, relative to the study's, or its id on the Hugging Face Hub."""


@cache
def load(model: str, revision: str | None) -> loading.Loaded:
    """A model that judges.

    Raises:
        ModelError: it cannot be loaded, or not safely.
    """
    return loading.load(Checkpoint(str(hub.resolve(model, revision))))


@cache
def tokenizer_in(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder.

    Raises:
        ModelError: there is none that can be read.
    """
    return loading.load_tokenizer(folder)


def identity(model: str | None) -> str | None:
    """What tells one model from another: the hash of its files where they are on this machine, else its name."""
    return hub.fingerprint(Path(model)) if model and Path(model).is_dir() else model


def shown_name(model: str) -> str:
    """What verdicts call a model: its folder's name, or its Hub id."""
    return Path(model).name if Path(model).is_dir() else model


def context_of(loaded: loading.Loaded) -> int:
    """Tokens that a model can read and write."""
    positions = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    limits = [positions, loaded.tokenizer.model_max_length]  # the second is a huge number where nothing is known
    return min(int(limit) for limit in limits if limit)
