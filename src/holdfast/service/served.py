"""A model in memory as the service asks it: one base, and the adapters that are put on it row by row."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.types import Checkpoint
from holdfast.models import adapters, hub, loading
from holdfast.models.loading import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_ADAPTERS = 64
"""Adapters of one base that stay in memory. The one that was asked least recently goes first."""

BASE = "__base__"
"""How peft names the rows that are asked without an adapter."""


def shares_base(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is a plain LoRA adapter, which peft can apply to some rows of a batch and not to others."""
    folder = checkpoint.folder
    if folder is None or not hub.is_adapter(folder) or checkpoint.own_template:
        return False
    config = json.loads((folder / hub.ADAPTER).read_text(encoding="utf-8"))
    special = ("use_dora", "modules_to_save", "trainable_token_indices", "alora_invocation_tokens", "target_parameters")
    return config.get("peft_type") == "LORA" and config.get("bias") == "none" and not any(map(config.get, special))


class Served:
    """A base with adapters, or a model of its own. Only the thread that generates may call its methods."""

    def __init__(self, loaded: Loaded, base: Path) -> None:
        self.loaded, self.base = loaded, base
        self._model = loaded.model
        self._names: dict[Path, str] = {}
        """Folder of an adapter → its name, the one that was asked least recently first."""
        self._active = ""
        taken = inspect.signature(loaded.model.forward).parameters
        self._cache_name = "cache" if "cache" in taken else "past_key_values"  # the name is changing in transformers

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base's, which pads on the left."""
        return self.loaded.tokenizer

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self.loaded.model.device

    def new_cache(self) -> Any:
        """An empty cache of keys and values, with the kind of layer that the model needs."""
        from transformers import DynamicCache

        return DynamicCache(config=self.loaded.model.config)

    def attach(self, folder: Path, in_use: Collection[str]) -> str:
        """The name of an adapter, which is put on the base if it is not there. Names in use stay.

        Raises:
            ModelError: it does not fit the base, or was made for another one.
        """
        name = self._names.pop(folder, "")
        if not name:
            adapters.check_base(folder, self.base)
            name = f"adapter-{folder.parent.name}-{folder.name}".replace(".", "-")
            self._make_room(in_use)
            self._load(folder, name)
        self._names[folder] = name
        return name

    def forward(self, names: Sequence[str], cache: Any, **inputs: Any) -> Any:
        """The outputs for rows that are asked with these adapters; "" is the base itself."""
        inputs[self._cache_name] = cache
        distinct = set(names)
        if self._model is self.loaded.model:
            return self._model(**inputs)
        if len(distinct) > 1:
            return self._model(adapter_names=[name or BASE for name in names], **inputs)
        (name,) = distinct
        if name and name != self._active:
            self._model.set_adapter(name, inference_mode=True)
            self._active = name
        if name:
            return self._model(**inputs)
        with self._model.disable_adapter():
            return self._model(**inputs)

    def _load(self, folder: Path, name: str) -> None:
        """Put an adapter on the base, after a check that it changes the logits."""
        first = self._model is self.loaded.model
        model = loading.with_adapter(self._model, folder, name)
        if first:
            self._model = model
        self._active = name

    def _make_room(self, in_use: Collection[str]) -> None:
        idle = [folder for folder, name in self._names.items() if name not in in_use]
        for folder in idle[: max(0, len(self._names) + 1 - MOST_ADAPTERS)]:
            self._model.delete_adapter(self._names.pop(folder))
            self._active = ""
