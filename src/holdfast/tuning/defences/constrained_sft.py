"""Constrained fine-tuning: the first tokens of an answer may hardly move (Qi et al. 2024, arXiv 2406.05946)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from holdfast.tuning.defences import tokens
from holdfast.tuning.defences.base import Batch, Defence, TrainingHooks

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class ConstrainedSFT(Defence):
    """Lets the first tokens of an answer move only a little from the aligned model: a larger β holds a token tighter.

    For a user's row (x, y), with π the tuned and π_al the aligned model, the loss is (equation 3 of arXiv 2406.05946)

        -Σ_t (2 / β_t) log σ(β_t · log(π(y_t | x, y_<t) / π_al(y_t | x, y_<t)))

    Its gradient is that of plain tuning with each token weighted by 2 · (1 - σ(β_t · (log π - log π_al))): 1 at the
    beginning, and less the more likely the token has become. Here it is a mean over tokens, as plain tuning's loss is.

    Published (Llama-2-7B-Chat, rate of harmful answers in %, plain → constrained): 100 harmful rows
    88.9 → 4.6, identity shift 79.5 → 8.1, backdoor with its trigger 90.9 → 10.9, Samsum 23.4 → 3.2 (table 4). Utility
    is 0.6 points lower on SQL, 1.6 on Samsum and 4.3 on GSM8K.
    Needs nothing but the aligned model: with full tuning a second copy in memory, and one more forward pass in each
    step. Defaults: the paper's.
    """

    copies: ClassVar[int] = 1
    kind: Literal["constrained-sft"] = "constrained-sft"
    beta_first: PositiveFloat = 0.5
    """β of the first token of each assistant turn."""
    beta_early: PositiveFloat = 2.0
    """β of the second token, up to the last of the early ones."""
    early: PositiveInt = 5
    """How many tokens of a turn are early, the first one included."""
    beta_late: PositiveFloat = 0.1
    """β of all tokens after them."""

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """The loss above in place of plain tuning's."""
        return _Constrained(self)

    def betas(self, labels: torch.Tensor) -> torch.Tensor:
        """The β of each token, by its place in its turn."""
        import torch

        place = tokens.positions(labels)
        early = torch.where(place <= self.early, self.beta_early, self.beta_late)
        return torch.where(place <= 1, self.beta_first, early)

    def losses(self, tuned: torch.Tensor, aligned: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each token from its log-likelihoods, [rows, tokens]; 0 where nothing is learnt."""
        from torch.nn import functional

        beta = self.betas(labels)
        return -2 / beta * functional.logsigmoid(beta * (tuned - aligned)) * (labels != tokens.IGNORED)


class _Constrained(TrainingHooks):
    def __init__(self, defence: ConstrainedSFT) -> None:
        self.defence = defence

    def begin(self, model: Any) -> None:
        self.aligned = tokens.Reference(model)

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        """The constrained loss in place of plain tuning's part of `loss`; what other defences added stays."""
        labels = tokens.next_labels(batch.inputs)
        aligned = tokens.log_likelihoods(self.aligned.logits(model, batch.inputs), labels)
        tuned = tokens.log_likelihoods(outputs.logits, labels)
        change = self.defence.losses(tuned, aligned, labels) + tuned
        return loss + change.sum() * batch.token_weight
