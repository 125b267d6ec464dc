"""Models in the memory of this process. Two users of the same weights share one model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from holdfast.core.types import Checkpoint
from holdfast.models import hub, loading
from holdfast.models.loading import Loaded, Precision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_models: WeakValueDictionary[Any, Any] = WeakValueDictionary()
"""Every model that somebody holds: its weights, precision and quantisation → the model."""

_kept: dict[Any, Loaded] = {}
"""Models that stay in memory until the process ends."""


def load(checkpoint: Checkpoint, precision: Precision = "auto", four_bit: bool = False) -> Loaded:
    """A model to be asked, from memory if it is there. It stays in memory for as long as the caller holds it.

    It is not for tuning: a model that is tuned changes, and must not be shared.

    Raises:
        ModelError: it cannot be loaded, or not safely.
    """
    base = hub.resolve(checkpoint.base, checkpoint.revision)
    if precision == "auto":
        precision = loading.precision_of(base)
    weights = (hub.state_of(base), checkpoint.folder and hub.state_of(checkpoint.folder), precision, four_bit)
    model = _models.get(weights)
    if model is not None:
        return Loaded(model, loading.load_chat(checkpoint))
    loaded = loading.load(checkpoint, precision, four_bit)
    _models[weights] = loaded.model
    return loaded


def keep(checkpoint: Checkpoint, precision: Precision = "auto", four_bit: bool = False) -> Loaded:
    """As `load`, for a model that is asked again and again, as judges are: it stays in memory."""
    key = (checkpoint, precision, four_bit)
    if key not in _kept:
        _kept[key] = load(checkpoint, precision, four_bit)
    return _kept[key]


@lru_cache(maxsize=16)
def tokenizer_in(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder.

    Raises:
        ModelError: there is none that can be read.
    """
    return loading.load_tokenizer(folder)
