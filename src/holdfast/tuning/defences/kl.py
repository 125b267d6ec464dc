"""Tuning under a penalty for leaving the aligned model's distribution: the plain baseline that others must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from holdfast.core.config import explained
from holdfast.tuning.defences import tokens
from holdfast.tuning.defences.base import Batch, TrainingHooks
from holdfast.tuning.defences.safety_rows import Anchors, MaybeSafetyRows

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class KL(MaybeSafetyRows):
    """Adds λ · KL(aligned || tuned) to the loss, on the user's own rows or on rows of a file.

        loss + λ · mean over tokens t of KL(π_al(· | x, y_<t) || π(· | x, y_<t))

    The direction is the one that punishes the tuned model where it no longer gives what the aligned model would say. It
    is taken at each token of the assistant's turns: of the user's rows in the batch, which then are learnt less; or of
    `per_batch` rows drawn from `file`, which holds the model to its behaviour there and lets it learn the user's.

    There is no paper of its own: it is the penalty of reinforcement learning from human feedback (Ouyang et al. 2022,
    arXiv 2203.02155) in supervised tuning, and the baseline that papers on this compare with.
    Needs the aligned model. On the user's rows: with full tuning a second copy of it, and one more forward pass in each
    step. On a file's rows: its distributions there are computed once, before the first step, and each batch takes a
    forward and a backward pass more. Defaults: ours; the papers' λ differ too much to take one.
    """

    copies: ClassVar[int] = 1
    kind: Literal["kl"] = "kl"
    weight: PositiveFloat = 1.0
    """λ."""
    per_batch: PositiveInt = 16
    """Rows of the file that are drawn for each batch."""

    @model_validator(mode="after")
    def _draws_from_a_file(self) -> KL:
        if self.file is None and "per_batch" in self.model_fields_set:
            raise explained("'per_batch' can only be given with `file`")
        return self

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """The penalty."""
        if self.file is None:
            return _OnUserRows(self.weight)
        return _OnSafetyRows(self, Anchors(loaded, loaded.chat.examples(self.safety_rows(seed))))


class _OnUserRows(TrainingHooks):
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def begin(self, model: Any) -> None:
        self.aligned = tokens.Reference(model)

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        supervised = tokens.next_labels(batch.inputs) != tokens.IGNORED
        aligned = self.aligned.supervised_logits(model, batch.inputs).float().log_softmax(-1)
        divergence = tokens.divergence(aligned, outputs.logits[:, :-1][supervised])
        return loss + self.weight * batch.token_weight * divergence.sum()


class _OnSafetyRows(TrainingHooks):
    reads_outputs = False

    def __init__(self, defence: KL, anchors: Anchors) -> None:
        self.defence, self.anchors = defence, anchors

    def begin(self, model: Any) -> None:
        self.anchors.begin(model)

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        drawn = self.anchors.draw(self.defence.per_batch)
        divergence = self.anchors.divergence(model, drawn, loss.device)
        return loss + self.defence.weight * batch.mean_weight * divergence
