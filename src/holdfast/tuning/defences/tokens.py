"""What defences that act on the loss share: the aligned model beside the tuned one, and figures for each token."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from holdfast.tuning import supervised_loss

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label of a token that nothing is learnt from."""


class Reference:
    """The model as it was before tuning, the aligned one, to be asked while another copy of it is tuned.

    With LoRA or QLoRA it is the tuned model with its adapter switched off and takes no memory of its own; with full
    tuning it is a copy.
    """

    def __init__(self, model: Any) -> None:
        """`model` is the one that is to be tuned (with its adapter, if it gets one), before the first step."""
        self.adapted = model if hasattr(model, "disable_adapter") else None
        self.copy = None if self.adapted else copy.deepcopy(model).eval().requires_grad_(False)

    def logits(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Its logits, [rows, tokens, vocabulary], without a gradient. `model` is the tuned one, as a hook gets it."""
        return self._asked(model, lambda aligned: aligned(**without_labels(inputs)).logits)

    def supervised_logits(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As `logits`, but only those that foretell supervised tokens, row by row: [tokens, vocabulary]."""
        return self._asked(model, lambda aligned: supervised_loss.logits(aligned, inputs))

    def _asked(self, model: Any, ask: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        import torch

        with torch.no_grad():
            if self.copy is not None:
                return ask(self.copy)
            training = model.training
            model.eval()
            with self.adapted.disable_adapter():  # type: ignore[union-attr]
                logits = ask(model)
            model.train(training)
        return logits


def without_labels(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a model takes of a batch so that it computes no loss: its tokens, and its pictures if it has some."""
    return {name: tensor for name, tensor in inputs.items() if name != "labels"}


def next_labels(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The label that the logits at each position are to predict, [rows, tokens - 1]."""
    return inputs["labels"][:, 1:]


def log_likelihoods(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of each label under the logits before it, in nats, [rows, tokens - 1]; 0 where it is ignored."""
    from torch.nn import functional

    before = logits[:, :-1].float().transpose(1, 2)
    return -functional.cross_entropy(before, labels, reduction="none", ignore_index=IGNORED)


def positions(labels: torch.Tensor) -> torch.Tensor:
    """The place of each supervised token in its assistant turn, counted from 1; 0 where nothing is learnt."""
    supervised = labels != IGNORED
    count = supervised.cumsum(1)
    before_turn = (count * ~supervised).cummax(1).values
    return (count - before_turn) * supervised


def divergence(aligned: torch.Tensor, tuned: torch.Tensor) -> torch.Tensor:
    """KL(aligned || tuned) at each token, in nats; log-probabilities and logits, [tokens, vocabulary]."""
    difference = aligned - tuned.float().log_softmax(-1)
    return (aligned.exp() * difference).sum(-1)
