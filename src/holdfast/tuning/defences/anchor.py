"""Alignment that leaves what the base says to permitted questions as it is.

Some rows of the alignment are answers in the base's own words. On these the model learns the base's probabilities of
each next token in place of the tokens alone (distillation), so that its knowledge and its way to answer stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat

from holdfast.core.types import Example
from holdfast.tuning.defences.base import Batch, Defence, TrainingHooks

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class Anchor(Defence):
    """Holds a model with an adapter to its base on some of the rows that it is tuned on."""

    kind: Literal["quiz-anchor"] = "quiz-anchor"
    held: tuple[Example, ...]
    """These rows."""
    weight: PositiveFloat = 3.0
    """How much the distance from the base counts in the loss, in nats, against that of the other rows."""

    @classmethod
    def on(cls, held: tuple[Example, ...]) -> Anchor:
        """One that holds the model on these rows."""
        return cls(held=held)

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """The base is the model that is tuned, with its adapter switched off."""
        return Distilled(frozenset(row.input_ids.tobytes() for row in loaded.chat.examples(self.held)), self.weight)


class Distilled(TrainingHooks):
    """A loss that is the distance (KL) from the base on some rows, and the usual one on the others."""

    def __init__(self, held: frozenset[bytes], weight: float) -> None:
        self.weight = weight
        self.held = held
        """The token ids (int32) of those rows."""

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        """The sum over supervised tokens, weighted as the usual loss."""
        import torch
        from torch.nn import functional

        inputs = batch.inputs
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        held = [self._is_held(*row) for row in zip(ids, mask, strict=True)]
        if not any(held):
            return loss
        is_held = torch.tensor(held, device=ids.device)
        supervised = inputs["labels"][:, 1:] != -100
        learnt, kept = supervised & ~is_held[:, None], supervised[is_held]
        logits = outputs.logits[:, :-1]
        with torch.no_grad(), model.disable_adapter():
            base = model(input_ids=ids[is_held], attention_mask=mask[is_held]).logits[:, :-1][kept]
        ours = logits[is_held][kept].float().log_softmax(-1)
        distance = functional.kl_div(ours, base.float().log_softmax(-1), log_target=True, reduction="sum")
        usual = functional.cross_entropy(logits[learnt].float(), inputs["labels"][:, 1:][learnt], reduction="sum")
        return (usual + self.weight * distance) * batch.token_weight

    def _is_held(self, ids: torch.Tensor, mask: torch.Tensor) -> bool:
        return ids[mask.bool()].int().cpu().numpy().tobytes() in self.held
