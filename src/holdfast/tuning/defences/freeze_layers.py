"""Freezing the layers that carry safety: safely partial-parameter fine-tuning (Li et al. 2024, arXiv 2408.17003)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeInt, model_validator

from holdfast.core.config import explained
from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint
from holdfast.tuning.defences.base import Defence, TrainingHooks
from holdfast.tuning.defences.layers import layers_of, settings_of

if TYPE_CHECKING:
    from holdfast.models.loading import Loaded


class FreezeLayers(Defence):
    """Leaves the weights of some layers as they are while the others are tuned (SPPFT, arXiv 2408.17003, ICLR 2025).

        ∇_w = 0  for all weights w of the layers `first` to `last`

    with full tuning; with LoRA, the adapters of these layers stay zero. Embeddings and the other layers are tuned.

    The paper finds "safety layers" a little below the middle of aligned models, by how differently each layer treats
    forbidden and permitted requests: 6 to 14 of Llama-2-7B-Chat, 6 to 12 of Llama-3-8B-Instruct and 11 to 15 of
    Phi-3-mini-4k-instruct, of 32; 6 to 11 of gemma-2b-it, of 18.

    Published (Llama-2-7B-Chat, full tuning, harmful answers in %, plain → frozen; tables 2 and 3): benign rows
    10.6 → 2.9; 1,000 benign and 50, 100 and 200 harmful rows 26.0 → 7.9, 53.7 → 25.6 and 93.5 → 68.3.

    Needs to know which layers: there is no default, because they differ from model to model. Saves memory.
    """

    kind: Literal["freeze-layers"] = "freeze-layers"
    first: NonNegativeInt
    """The first frozen layer, counted from 0."""
    last: NonNegativeInt
    """The last frozen layer."""

    @model_validator(mode="after")
    def _in_order(self) -> FreezeLayers:
        if self.last < self.first:
            raise explained(f"`last` ({self.last}) comes before `first` ({self.first})")
        return self

    def check(self, base: Checkpoint) -> None:
        """Compare with the number of layers in the model's configuration.

        Raises:
            ModelError: there are fewer layers, or none would be left to tune.
        """
        n_layers = int(settings_of(base).get("num_hidden_layers", 0))
        if self.last >= n_layers:
            raise ModelError(
                f"freeze-layers: {base.base} has {n_layers} layers, 0 to {n_layers - 1}, so there is no layer "
                f"{self.last}. Lower `last`."
            )
        if self.last - self.first + 1 == n_layers:
            raise ModelError(
                f"freeze-layers: all {n_layers} layers of {base.base} would be frozen. Leave some of them to be tuned."
            )

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """What freezes the layers."""
        return _Frozen(self.first, self.last)


class _Frozen(TrainingHooks):
    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def begin(self, model: Any) -> None:
        """Take their weights out of what the optimizer, which is made later, moves."""
        for layer in layers_of(model)[self.first : self.last + 1]:
            layer.requires_grad_(False)
