"""One-shot patching: a few steps on one or a few refusals after tuning (Zhang et al. 2026, arXiv 2601.01887)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat, PositiveInt

from holdfast.core.types import Checkpoint
from holdfast.tuning.defences.safety_rows import RowsAtHand, WithSafetyRows

if TYPE_CHECKING:
    from holdfast.models.loading import Loaded


class OneShotPatch(WithSafetyRows):
    """Tunes the tuned model for a few steps on one refusal, or on a few (arXiv 2601.01887, ICLR 2026).

        repeat `steps` times:  w ← AdamW step on  −1/T Σ_t log π_w(y_t | x, y_<t)

    with (x, y) the refusals, all of them in each step, and T their supervised tokens. The paper explains that so little
    is enough by the low rank of the gradients of safety rows.

    Published (five aligned models of 7 to 8 billion parameters and others, after harmful and benign tuning): safety is
    wholly recovered by one row within a few epochs, at no cost in utility.

    The paper chooses the row by bilevel optimisation over the aligned model; here `n` are drawn from `file` by seed.
    One row is the paper's; ten steps, and the usual learning rate for full tuning of 7B models, are ours. Small models
    need a larger one. Too many steps make a model refuse everything: choose them on permitted prompts.

    Needs refusals. All weights are tuned, also after LoRA, so it takes memory for four models in float32.
    """

    kind: Literal["one-shot-patch"] = "one-shot-patch"
    n: PositiveInt = 1
    """How many refusals, drawn by seed."""
    steps: PositiveInt = 10
    """Steps of the optimizer."""
    learning_rate: PositiveFloat = 2e-5

    def after(self, tuned: Loaded, base: Checkpoint, seed: int) -> None:
        """Change the tuned weights in place."""
        import torch

        rows = RowsAtHand(tuned, tuned.chat.examples(self.safety_rows(seed)))
        model, every = tuned.model, range(len(rows.rows))
        model.requires_grad_(True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.learning_rate, weight_decay=0.0)
        for _ in range(self.steps):
            optimizer.zero_grad()
            torch.autograd.backward(rows.nll(model, every, model.device))
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        optimizer.zero_grad()
