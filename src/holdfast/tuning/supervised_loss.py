"""The loss of a batch, with the model's output layer at work only where a row is supervised.

A small model spends a third of a step in the output layer and the loss over its vocabulary, and half of the tokens are
a prompt's, of which nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def fits(model: Any) -> bool:
    """Whether a model's loss is the cross-entropy alone: mixtures of experts add to it how evenly they are used."""
    plain = not getattr(model.config.get_text_config(), "output_router_logits", False)
    return plain and model.get_output_embeddings() is not None


def loss(model: Any, inputs: Mapping[str, torch.Tensor], n_tokens: Any) -> torch.Tensor:
    """The mean cross-entropy of a batch's supervised tokens, or its part of the mean of a whole step.

    Args:
        model: the model as it is called: where several processes tune, there is a wrapper around it.
        inputs: a batch with `labels` of shape [rows, tokens], -100 where a token is not supervised.
        n_tokens: the supervised tokens of the step; None for those of the batch.
    """
    from torch.nn.functional import cross_entropy

    targets = inputs["labels"][:, 1:]
    targets = targets[targets != -100]
    total = cross_entropy(logits(model, inputs).float(), targets, reduction="sum")
    return total / (len(targets) if n_tokens is None else n_tokens)


def logits(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The logits that foretell a batch's supervised tokens, row by row, of shape [tokens, vocabulary]."""
    places = inputs["labels"][:, 1:] != -100
    bare = model
    while hasattr(bare, "module"):  # what several processes have around it
        bare = bare.module
    head = bare.get_output_embeddings()
    with _only_at(head, places) if head is not None else nullcontext():
        found: torch.Tensor = model(
            **{name: value for name, value in inputs.items() if name != "labels"}, use_cache=False
        ).logits
    if found.dim() == 3:  # its output layer is not known, or saw something else than one vector for each token
        found = found[:, :-1][places]
    return found


@contextmanager
def _only_at(head: Any, places: torch.Tensor) -> Iterator[None]:
    """Give a layer only the vectors at some places, each of which foretells the next token."""

    def pick(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        hidden = arguments[0]
        if tuple(hidden.shape[:2]) != (len(places), places.shape[1] + 1):
            return None
        return (hidden[:, :-1][places], *arguments[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
