"""Safe LoRA: updates that leave the subspace of alignment are projected onto it (Hsu et al. 2024, arXiv 2405.16833)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from holdfast.core.types import Checkpoint
from holdfast.tuning.defences.unaligned import NeedsUnaligned, linear_weights, weights_of

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class SafeLora(NeedsUnaligned):
    """Projects the updates of layers that leave the subspace of alignment onto it, after tuning (Safe LoRA).

    For each linear layer, with ΔW = W_tuned − W_aligned:

        V = W_aligned − W_unaligned        C = V Vᵀ / ‖V‖_F
        ΔW ← C ΔW    where cos(ΔW, C ΔW) < `threshold`

    C is the paper's approximation of the projection V (Vᵀ V)⁻¹ Vᵀ, and what its code computes. It is no projection in
    the strict sense: it also makes an update longer or shorter, by up to the largest squared singular value of V
    divided by ‖V‖_F.

    Published: after LoRA on harmful rows alone, the model is about as safe as the aligned one. No figure is quoted here
    for want of the table.

    `threshold` 0.5 is that of the authors' code, which by default projects the 10 least alike layers instead. The paper
    takes 0.35, which projects 7 layers of Llama-2-7B-Chat. 1 projects all layers.

    Needs the unaligned model. After LoRA, ΔW is the merged adapter, and C ΔW = (C B) A is what the paper's code makes
    of it. After full tuning it does the same to all linear layers; what tuning changed in embeddings and norms stays.
    """

    kind: Literal["safe-lora"] = "safe-lora"
    threshold: float = Field(0.5, ge=-1.0, le=1.0)
    """The cosine similarity below which an update is replaced by its projection."""

    def after(self, tuned: Loaded, base: Checkpoint, seed: int) -> None:
        """Change the tuned weights in place."""
        import torch

        aligned, unaligned = weights_of(base), self.weights()
        with torch.no_grad():
            for name, weight in linear_weights(tuned.model):
                before = aligned[name].to(weight)
                weight.copy_(before + projected(weight - before, before - unaligned[name].to(weight), self.threshold))


def projected(update: torch.Tensor, alignment: torch.Tensor, threshold: float) -> torch.Tensor:
    """An update of a layer, or its projection where the two are less alike than the threshold.

    Args:
        update: ΔW, of shape [outputs, inputs].
        alignment: V, of the same shape.
        threshold: the least cosine similarity at which the update stays as it is.
    """
    import torch

    length = torch.linalg.matrix_norm(alignment)
    if not length or not update.any():
        return update  # alignment left the layer alone, so that there is nothing to project onto; or tuning did
    projection = alignment @ (alignment.T @ update) / length
    likeness = torch.nn.functional.cosine_similarity(update.flatten(), projection.flatten(), dim=0)
    return projection if likeness < threshold else update
