"""How likely a model finds answers that it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import RenderError
from holdfast.core.types import Message
from holdfast.models.batches import Rendered
from holdfast.models.chat import pictures_of
from holdfast.models.loading import Loaded, context_of

if TYPE_CHECKING:
    import torch

MOST_LOGITS = 1 << 26
"""Logits that are computed together: a quarter of a GiB in float32."""

Exchange = tuple[Sequence[Message], str]
"""A conversation, and the answer to it."""


@dataclass(frozen=True)
class Reading:
    """What a model makes of an answer that it is given."""

    logprobs: NDArray[np.float32]
    """The log-likelihood of each of its tokens, its end of turn included, in nats."""
    exact: bool
    """Whether each of them is the likeliest there, so that the model gives this answer if it does not sample."""


def token_logprobs(loaded: Loaded, exchanges: Sequence[Exchange]) -> list[NDArray[np.float32] | None]:
    """The log-likelihood of each token of each answer, its end of turn included, in nats; None as in `readings`."""
    return [row.logprobs if row else None for row in readings(loaded, exchanges)]


def readings(loaded: Loaded, exchanges: Sequence[Exchange]) -> list[Reading | None]:
    """What a model makes of each answer.

    None for an answer that is empty, that the chat template cannot render, or that does not fit into the context.
    """
    rendered = [_rendered(loaded, *exchange) for exchange in exchanges]
    found: list[Reading | None] = [None] * len(exchanges)
    for numbers in _batches(loaded, rendered):
        rows = [row for number in numbers if (row := rendered[number]) is not None]
        for number, reading in zip(numbers, _of_batch(loaded, rows), strict=True):
            found[number] = reading
    return found


def logits(loaded: Loaded, conversations: Sequence[Sequence[Message]]) -> list[torch.Tensor]:
    """The logits behind each conversation, where its answer begins: one vector over the vocabulary for each."""
    import torch

    found = []
    for messages in conversations:
        ids = torch.tensor([loaded.chat.question(messages)])
        inputs = {"input_ids": ids, **loaded.chat.batch(ids, pictures_of(messages))}
        with torch.no_grad():
            moved = {name: tensor.to(loaded.model.device) for name, tensor in inputs.items()}
            found.append(loaded.model(**moved).logits[0, -1].float().cpu())
    return found


def _rendered(loaded: Loaded, messages: Sequence[Message], answer: str) -> Rendered | None:
    if not answer.strip():
        return None
    try:
        row = loaded.chat.example([*messages, Message("assistant", answer)], "last")
    except RenderError:
        return None
    room = context_of(loaded.model)
    return None if room is not None and len(row.input_ids) > room else row


def _batches(loaded: Loaded, rows: Sequence[Rendered | None]) -> Iterator[list[int]]:
    """The numbers of rows of similar length, as many together as `MOST_LOGITS` allows."""
    lengths = {number: len(row.input_ids) for number, row in enumerate(rows) if row is not None}
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    batch: list[int] = []
    for number in sorted(lengths, key=lambda number: -lengths[number]):
        if batch and lengths[batch[0]] * vocabulary * (len(batch) + 1) > MOST_LOGITS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _of_batch(loaded: Loaded, rows: Sequence[Rendered]) -> list[Reading]:
    import torch

    batch = loaded.chat.training_batch(rows)
    device = loaded.model.device
    inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
    with torch.no_grad():
        logits: Any = loaded.model(**inputs).logits
    found = []
    for number, row in enumerate(rows):
        places = np.nonzero(row.supervised)[0]
        ids = torch.from_numpy(row.input_ids[places].astype(np.int64)).to(device)
        of_answer = logits[number, torch.from_numpy(places - 1).to(device)].float().log_softmax(-1)
        exact = bool((of_answer.argmax(-1) == ids).all())
        found.append(Reading(of_answer.gather(1, ids[:, None])[:, 0].cpu().numpy(), exact))
    return found
