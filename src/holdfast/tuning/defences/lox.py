"""LoX: the low-rank part of what alignment changed is taken further before tuning (Perin et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat, PositiveInt

from holdfast.tuning.defences.unaligned import NeedsUnaligned, linear_weights

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class Lox(NeedsUnaligned):
    """Extrapolates the low-rank part of what alignment changed, before tuning (LoX, arXiv 2506.15606, COLM 2025).

    For each linear layer, with ΔW = W_aligned − W_unaligned = U S Vᵀ:

        W ← W_aligned + α U_k U_kᵀ ΔW

    where U_k are the first k left singular vectors: the part of ΔW of rank k that is nearest to it. It moves the model
    further from where tuning would have to take it; tuning itself is as without a defence.

    Published (Llama-2-7B aligned on 65,600 pairs of HH-RLHF, attack success in %): GSM8K 11 → 0, Alpaca 32 → 9, Dolly
    52 → 7, identity shift 84.3 → 42.3, harmful rows 63 → 9, at about the same accuracy (GSM8K 37.1 → 36.5).

    `rank` 6 and `alpha` 1.25 are the paper's for that model. Alignments differ in rank and length, so choose both on
    held-out prompts: where α is too large, the model answers in broken text before any tuning.

    Needs the unaligned model, and memory for two models before tuning.
    """

    kind: Literal["lox"] = "lox"
    rank: PositiveInt = 6
    """k: how many singular directions of each layer are taken further; all of them if a layer has fewer."""
    alpha: PositiveFloat = 1.25
    """α: how far, in lengths of their part of ΔW."""

    def prepare_base(self, loaded: Loaded, seed: int) -> None:
        """Change the weights of the aligned model in place."""
        import torch

        unaligned = self.weights()
        with torch.no_grad():
            for name, weight in linear_weights(loaded.model):
                weight.add_(low_rank(weight - unaligned[name].to(weight), self.rank), alpha=self.alpha)


def low_rank(change: torch.Tensor, rank: int) -> torch.Tensor:
    """U_k U_kᵀ ΔW: the nearest matrix of a rank, by the first singular directions."""
    import torch

    directions: torch.Tensor = torch.linalg.svd(change, full_matrices=False).U[:, :rank]
    return directions @ (directions.T @ change)
