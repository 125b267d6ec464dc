"""RESTA: the safety vector is added to the tuned weights (Bhardwaj et al. 2024, arXiv 2402.11746, ACL 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat

from holdfast.core.types import Checkpoint
from holdfast.tuning.defences.unaligned import NeedsUnaligned, weights_of

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class Resta(NeedsUnaligned):
    """Adds to the tuned weights what alignment once added, times `gamma` (RESTA).

        W ← W_aligned + D(W_tuned − W_aligned) + γ (W_aligned − W_unaligned)

    for all weights, where D is nothing, or drops each entry of the change with the probability `drop` and multiplies
    the others by 1 / (1 − drop) (DARE, Yu et al. 2023, arXiv 2311.03099).

    Published (averages over tasks and languages, Llama-2-7B-Chat): unsafe answers 18.6 → 5.1 % after LoRA, 9.2 → 1.5 %
    after full tuning.

    The paper makes its unaligned model by tuning the aligned one on harmful rows, for want of the true one; here it is
    the model before alignment, as in task arithmetic (Ilharco et al. 2022, arXiv 2212.04089). The safety vector has
    then all that alignment taught, chat included, so that a large `gamma` costs more.

    Needs the unaligned model. Works after full tuning and after LoRA, whose adapter is merged. Takes memory for three
    models.
    """

    kind: Literal["resta"] = "resta"
    gamma: PositiveFloat = 0.5
    """How much of the safety vector is added. It is to be chosen on held-out prompts: too much makes over-refusals."""
    drop: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the tuned change that DARE drops; 0 is without DARE."""

    def after(self, tuned: Loaded, base: Checkpoint, seed: int) -> None:
        """Change the tuned weights in place."""
        import torch

        aligned, unaligned = weights_of(base), self.weights()
        with torch.no_grad():
            for name, weight in tuned.model.named_parameters():
                before = aligned[name].to(weight)
                change = dropped(weight - before, self.drop)
                weight.copy_(before + change + self.gamma * (before - unaligned[name].to(weight)))


def dropped(change: torch.Tensor, drop: float) -> torch.Tensor:
    """DARE: each entry is dropped with a probability, and the others are scaled so that the expectation stays."""
    import torch

    return torch.nn.functional.dropout(change, drop) if drop else change
