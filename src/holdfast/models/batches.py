"""Rows and questions as tensors, padded to one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core.pictures import Picture

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True, eq=False)
class Rendered:
    """One training row as the model sees it; both fields have one entry a token."""

    input_ids: np.ndarray[Any, np.dtype[np.int32]]
    """Token ids of the whole conversation."""
    supervised: np.ndarray[Any, np.dtype[np.bool_]]
    """True where the token belongs to a trained assistant turn; its end-of-turn token is included."""
    pictures: tuple[Picture, ...] = ()
    """What its image tokens stand for, in order; unpacked when a batch needs them."""

    @property
    def n_supervised(self) -> int:
        """The number of tokens that the loss is taken over."""
        return int(self.supervised.sum())


def training_batch(rows: Sequence[Rendered], pad: int) -> dict[str, torch.Tensor]:
    """Rows → `input_ids`, `attention_mask` and `labels` of shape [rows, longest], padded on the right.

    Padding is known by its position and never by its token id. So an end of turn stays supervised also where the
    same token is used for padding.
    """
    import torch

    longest = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), -100)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        n = len(row.input_ids)
        ids[i, :n] = torch.from_numpy(row.input_ids)
        labels[i, :n] = torch.where(torch.from_numpy(row.supervised), ids[i, :n], -100)
        mask[i, :n] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def question_batch(questions: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Questions → `input_ids` and `attention_mask` of shape [questions, longest], padded on the left."""
    import torch

    longest = max(map(len, questions))
    return {
        "input_ids": torch.tensor([[pad] * (longest - len(ids)) + list(ids) for ids in questions]),
        "attention_mask": torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in questions]),
    }
