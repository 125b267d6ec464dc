"""A model in memory as the service asks it: one base, and the adapters that are put on it row by row."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.types import Checkpoint
from holdfast.models import adapters, hub, loading
from holdfast.models.loading import Loaded
from holdfast.models.steps import packed
from holdfast.models.steps.lean import lean, plain, projection
from holdfast.models.steps.memory import Memory, new_memory
from holdfast.service.mixing import Mix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_ADAPTERS = 64
"""Adapters of one base that stay in memory. The one that was asked least recently goes first."""

SMALL = 64 << 20
"""Bytes of weights up to which one thread of the processor is faster than several, which wait for each other."""

SPECIAL = (
    "use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "alora_invocation_tokens",
    "target_parameters", "layer_replication",
)  # fmt: skip
"""Settings of LoRA adapters that go beyond two matrices a layer."""


@lru_cache(maxsize=4096)
def is_plain(folder: Path) -> bool:
    """Whether an adapter is two matrices for each of some linear layers, so that rows can be asked with it in a mix."""
    config = json.loads((folder / hub.ADAPTER).read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA" or config.get("bias") != "none" or any(map(config.get, SPECIAL)):
        return False
    return not any("embedding" in name or ".experts." in name for name in hub.tensors(folder))


def shares_base(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is asked as an adapter on a base that others are asked on too; else it is a model alone."""
    folder = checkpoint.folder
    return folder is not None and hub.is_adapter(folder) and not checkpoint.own_template and is_plain(folder)


class Served:
    """A base with adapters, or a model of its own. Only the thread that generates may call its methods."""

    def __init__(self, loaded: Loaded, base: Path) -> None:
        self.loaded, self.base = loaded, base
        self._model = loaded.model
        size = sum(weight.numel() * weight.element_size() for weight in loaded.model.parameters())
        self.is_small = size <= SMALL and loaded.model.device.type == "cpu"
        self.longest_token = max(map(len, loaded.tokenizer.get_vocab()))
        """In characters."""
        self._names: dict[Path, str] = {}
        """Folder of an adapter → its name, the one that was asked least recently first."""
        self._mix: Mix | None = None
        """Where there is an adapter."""
        self._linear = cache(packed.packed) if packed.pays(self._model) else plain
        self._lean = lean(self._model, partial(projection, linear=self._linear))

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base's, which pads on the left."""
        return self.loaded.tokenizer

    def new_memory(self) -> Memory:
        """An empty memory for rows."""
        return new_memory(self._model, self.tokenizer.pad_token_id, self._lean)

    def choose(self, adapters: Sequence[str]) -> None:
        """Say which adapter each row of the next passes is asked with; "" is the base itself."""
        if self._mix is not None:
            self._mix.choose(adapters)

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

    def _load(self, folder: Path, name: str) -> None:
        """Put an adapter on the base, after a check that it changes the logits."""
        if self._mix is not None:
            self._mix.remove()
            self._model.base_model.enable_adapter_layers()
        self._model = loading.with_adapter(self._model, folder, name)
        self._mix_anew()

    def _mix_anew(self) -> None:
        """Take up that an adapter came or went. peft's own way is switched off: it puts one on all rows."""
        self._model.base_model.disable_adapter_layers()
        self._mix = Mix(self._model)
        if self._lean:  # the same one: rows that are under way keep it
            self._lean.take(self._model.get_base_model(), partial(self._mix.projection, linear=self._linear))

    def _make_room(self, in_use: Collection[str]) -> None:
        """Drop the adapters that were asked least recently, as long as nobody uses them."""
        idle = [folder for folder, name in self._names.items() if name not in in_use]
        for folder in idle[: max(0, len(self._names) + 1 - MOST_ADAPTERS)]:
            if self._mix is not None:
                self._mix.remove()
            self._model.delete_adapter(self._names.pop(folder))
            self._mix_anew()
