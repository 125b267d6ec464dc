"""Rows of a batch laid end to end in as few lines as their longest row is wide, so that little is padding.

Positions begin anew with each row, and no row sees another: transformers makes its masks from the positions. So the
losses are those of the padded batch, but for rounding. Whether a model heeds that is tried before it is tuned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.models.batches import Rendered, training_batch
from holdfast.models.chat import Chat
from holdfast.tuning import supervised_loss

if TYPE_CHECKING:
    import torch

TOLERANCE, ROUGH = 1e-4, 1e-3
"""The largest difference of two losses of the same rows, in nats a token: of a model in float32, and in less."""

TRIED = 4
"""Rows on which packing is tried."""


def lines(lengths: Sequence[int], width: int) -> list[list[int]]:
    """The rows of each line, by position: the longest first, each in the first line with room for it."""
    found: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        line = next((i for i, free in enumerate(room) if free >= lengths[row]), len(room))
        if line == len(room):
            found.append([])
            room.append(width)
        found[line].append(row)
        room[line] -= lengths[row]
    return found


def packed_batch(rows: Sequence[Rendered], pad: int, width: int | None = None) -> dict[str, torch.Tensor]:
    """Rows → `input_ids`, `position_ids` and `labels` of shape [lines, width]; -100 where nothing is supervised.

    A line is as wide as the longest row if no width is given.
    """
    import torch

    lengths = [len(row.input_ids) for row in rows]
    width = width or max(lengths)
    placed = lines(lengths, width)
    ids = torch.full((len(placed), width), pad)
    labels = torch.full((len(placed), width), -100)
    positions = torch.zeros((len(placed), width), dtype=torch.long)
    for line, members in enumerate(placed):
        at = 0
        for row in (rows[i] for i in members):
            end = at + len(row.input_ids)
            ids[line, at:end] = torch.from_numpy(row.input_ids)
            labels[line, at:end] = torch.where(torch.from_numpy(row.supervised), ids[line, at:end], -100)
            labels[line, at] = -100  # the row before it does not foretell it
            positions[line, at:end] = torch.arange(end - at)
            at = end
        positions[line, at:] = torch.arange(width - at)
    return {"input_ids": ids, "position_ids": positions, "labels": labels}


def collator(
    model: Any, chat: Chat, rows: Sequence[Rendered]
) -> Callable[[Sequence[Rendered]], dict[str, torch.Tensor]]:
    """What makes a batch of rows: a packed one if that works with this model and these rows."""
    pad = int(chat.tokenizer.pad_token_id or 0)
    return partial(packed_batch, pad=pad) if works(model, rows, pad) else chat.training_batch


def works(model: Any, rows: Sequence[Rendered], pad: int) -> bool:
    """Whether a model takes the same loss from rows in one line as from padded ones."""
    import torch

    tried = rows[:TRIED]
    if any(row.pictures for row in rows) or len(tried) < 2 or not supervised_loss.fits(model):
        return False
    in_one_line = packed_batch(tried, pad, sum(len(row.input_ids) for row in tried))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            losses = [_loss(model, batch) for batch in (in_one_line, training_batch(tried, pad))]
    finally:
        model.train(training)
    return abs(losses[0] - losses[1]) <= (TOLERANCE if str(model.dtype) == "torch.float32" else ROUGH)


def _loss(model: Any, batch: Mapping[str, torch.Tensor]) -> float:
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
    return float(supervised_loss.loss(model, inputs, None))
