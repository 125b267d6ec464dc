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

    Published (after harmful rows, attack success in %): Llama 3 (8B) 95.5 → 0, Mistral-7B 98.5 → 16.4, Qwen2.5-7B
    98.8 → 10.0, no more than the last two have before tuning; at next to no cost in utility. GPT-4.1 takes ten rows.

    The paper chooses the row among 256 by bilevel optimisation; here `n` are drawn from `file` by seed. The defaults
    are the paper's: one row, ten epochs of it, and 2e-5. Small models need a larger learning rate. Too many steps
    make a model refuse everything: choose them on permitted prompts.

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
