"""Dark experience replay: safe conversations are replayed with the logits that the aligned model had on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from holdfast.tuning import supervised_loss
from holdfast.tuning.defences import tokens
from holdfast.tuning.defences.base import Batch, TrainingHooks
from holdfast.tuning.defences.safety_rows import RowsAtHand, WithSafetyRows

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded

TOGETHER = 16
"""Rows whose logits are computed together."""


class Replay(WithSafetyRows):
    """Replays safe conversations in each batch and matches the aligned model's logits on them (DER and DER++).

    Each batch draws rows (x', y') from the buffer, which is `file`:

        loss + α · ‖z' − h(x', y')‖² + β · −log π(y' | x')

    z' are the logits that the aligned model has at the supervised tokens of y', stored once before the first step, and
    h the tuned model's. ‖·‖² is the mean over tokens and vocabulary, as in the authors' code (DER, Buzzega et al. 2020,
    arXiv 2004.07211, equation 5); with β it is DER++ (equation 6), whose second term is a mean over tokens.

    Published: as a defence of safety, DER is the best of the methods of continual learning that arXiv 2512.10150
    compares on Llama-2-7B, Mistral-7B and Gemma-2B, after benign and poisoned rows, with the task kept.

    α 0.3 is the authors' for DER on images (S-CIFAR-10), for want of a value for language models; DER++ has there 0.1
    to 0.2, and β 0.5 to 1. A mean over a large vocabulary is small, so that larger α are to be tried first.

    Needs safe conversations, best with permitted ones among them, and memory for their logits: 4 bytes × tokens of the
    answers × vocabulary. It makes each step about as much longer as the rows that it draws.
    """

    kind: Literal["replay"] = "replay"
    alpha: PositiveFloat = 0.3
    """α: weight of the squared difference of logits."""
    beta: NonNegativeFloat = 0.0
    """β: weight of the replayed rows' own loss; 0 is DER, more is DER++."""
    per_batch: PositiveInt | None = None
    """Rows that are drawn for each batch; as many as the batch has if not given."""

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """The replay."""
        return _Replay(self, RowsAtHand(loaded, loaded.chat.examples(self.safety_rows(seed))))


class _Replay(TrainingHooks):
    reads_outputs = False

    def __init__(self, defence: Replay, rows: RowsAtHand) -> None:
        self.defence, self.rows = defence, rows

    def begin(self, model: Any) -> None:
        """Store the logits of the aligned model, which an adapter does not change before its first step."""
        import torch

        training = model.training
        model.eval()
        self.stored: list[torch.Tensor] = []
        with torch.no_grad():
            for first in range(0, len(self.rows.rows), TOGETHER):
                numbers = range(first, min(first + TOGETHER, len(self.rows.rows)))
                logits, labels = self._logits(model, numbers, model.device)
                self.stored += torch.split(logits.cpu(), (labels != tokens.IGNORED).sum(1).tolist())
        model.train(training)

    def _logits(self, model: Any, numbers: Any, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of some rows' supervised tokens in float32, [tokens, vocabulary], and all labels, [rows, tokens]."""
        batch = self.rows.batch(numbers, device)
        return supervised_loss.logits(model, batch).float(), tokens.next_labels(batch)

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        import torch

        drawn = self.rows.draw(self.defence.per_batch or len(batch.inputs["input_ids"]))
        logits, labels = self._logits(model, drawn, loss.device)
        stored = torch.cat([self.stored[number] for number in drawn]).to(logits.device)
        replayed = self.defence.alpha * torch.nn.functional.mse_loss(logits, stored)
        if self.defence.beta:
            own = torch.nn.functional.cross_entropy(logits, labels[labels != tokens.IGNORED])
            replayed = replayed + self.defence.beta * own
        return loss + replayed * batch.mean_weight
