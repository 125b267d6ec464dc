"""One model's conversations, generated together: new ones join and finished ones leave after any token.

All rows share one cache of keys and values. A row that joins is padded on the left to the length of the others. Keys
hold their positions already, so that padding moves no token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.models.chat import question_batch

if TYPE_CHECKING:
    import torch

    from holdfast.service.served import Served

PREFILL_TOKENS = 16384
"""Tokens of prompts, padding included, that are read in one step. A longer prompt is read alone."""


@dataclass
class Row:
    """One conversation that is being continued."""

    prompt: Sequence[int]
    """Token ids."""
    limit: int
    """Tokens to generate at most."""
    pick: Callable[[torch.Tensor, Sequence[int]], int]
    """Logits of the next token, and the token ids so far → the next token."""
    ends: frozenset[int]
    """Tokens that end the turn."""
    adapter: str = ""
    """The name of the adapter that it is asked with; "" for the base itself."""
    new: list[int] = field(default_factory=list)
    """Token ids generated so far, the end of turn included."""
    cancelled: bool = False
    """Whether nobody waits for it any more."""

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be generated."""
        return self.cancelled or len(self.new) >= self.limit or (bool(self.new) and self.new[-1] in self.ends)


class Batch:
    """The rows of one model. Only one thread may use it.

    Args:
        model: the model that is asked, with its adapters.
        most: rows at once; others wait.
    """

    def __init__(self, model: Served, most: int) -> None:
        self.model, self.most = model, most
        self.rows: list[Row] = []
        self.waiting: list[Row] = []
        self._cache: Any = None
        self._mask: Any = None
        """Of shape [rows, length of the cache]; 0 where a row is padded."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.rows or self.waiting)

    def step(self) -> list[Row]:
        """One more token for every row; returns the rows that got one, or that ended."""
        import torch

        with torch.inference_mode():
            moved = self._decode() if self.rows else []
            if self.waiting and self._may_join():
                moved += self._prefill()
            self._drop_finished()
        return moved

    def clear(self) -> list[Row]:
        """Forget everything, after an error; returns the rows that were there."""
        rows = [*self.rows, *self.waiting]
        self.rows, self.waiting, self._cache, self._mask = [], [], None, None
        return rows

    def _decode(self) -> list[Row]:
        """A forward pass with each row's last token."""
        import torch

        last = torch.tensor([[row.new[-1]] for row in self.rows], device=self.model.device)
        positions = self._mask.sum(-1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones_like(positions)], dim=-1)
        logits = self._logits(self.rows, self._cache, last, self._mask, positions)
        return self._picked(self.rows, logits)

    def _prefill(self) -> list[Row]:
        """A forward pass with the prompts of rows that join."""
        joining = self._next_to_join()
        batch = question_batch([row.prompt for row in joining], self.model.tokenizer.pad_token_id)
        device = self.model.device
        ids, mask, cache = batch["input_ids"].to(device), batch["attention_mask"].to(device), self.model.new_cache()
        logits = self._logits(joining, cache, ids, mask, (mask.cumsum(-1) - 1).clamp(min=0))
        moved = self._picked(joining, logits)
        self._join(joining, cache, mask)
        return moved

    def _next_to_join(self) -> list[Row]:
        """Waiting rows whose prompts are read together now."""
        joining: list[Row] = []
        longest = 0
        while self.waiting and len(self.rows) + len(joining) < self.most:
            longest = max(longest, len(self.waiting[0].prompt))
            if joining and longest * (len(joining) + 1) > PREFILL_TOKENS:
                break
            joining.append(self.waiting.pop(0))
        return joining

    def _may_join(self) -> bool:
        """Whether rows can join those that are there."""
        return not self.rows or (len(self.rows) < self.most and self._is_plain())

    def _is_plain(self) -> bool:
        """Whether every layer keeps the keys of every token. Where one does not, rows begin together."""
        from transformers.cache_utils import DynamicLayer

        return all(type(layer) is DynamicLayer for layer in self._cache.layers)

    def _logits(self, rows: Sequence[Row], cache: Any, ids: Any, mask: Any, positions: Any) -> torch.Tensor:
        """The logits of each row's next token, of shape [rows, vocabulary], in float32."""
        names = [row.adapter for row in rows]
        outputs = self.model.forward(
            names, cache, input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
        )
        logits: torch.Tensor = outputs.logits[:, -1].float()
        return logits

    def _picked(self, rows: Sequence[Row], logits: torch.Tensor) -> list[Row]:
        likeliest = logits.argmax(-1).tolist()
        for row, scores, first in zip(rows, logits, likeliest, strict=True):
            greedy = row.pick is likeliest_token
            row.new.append(first if greedy else row.pick(scores, [*row.prompt, *row.new]))
        return list(rows)

    def _join(self, rows: Sequence[Row], cache: Any, mask: Any) -> None:
        """Put rows and their cache beside those that are there."""
        import torch

        if not self.rows:
            self.rows, self._cache, self._mask = list(rows), cache, mask
            return
        length = max(mask.shape[1], self._mask.shape[1])
        self._mask = torch.cat([_padded(self._mask, length, -1), _padded(mask, length, -1)])
        for layer, other in zip(self._cache.layers, cache.layers, strict=True):
            layer.keys = torch.cat([_padded(layer.keys, length, -2), _padded(other.keys, length, -2)])
            layer.values = torch.cat([_padded(layer.values, length, -2), _padded(other.values, length, -2)])
        self.rows += rows

    def _drop_finished(self) -> None:
        """Take finished rows out, and the columns at the left that only they needed."""
        import torch

        going_on = [i for i, row in enumerate(self.rows) if not row.finished]
        if len(going_on) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in going_on]
        if not self.rows:
            self._cache = self._mask = None
            return
        kept = torch.tensor(going_on, device=self.model.device)
        self._cache.batch_select_indices(kept)
        self._mask = self._mask[kept]
        if self._is_plain() and (unused := int(self._mask.any(0).int().argmax())):
            self._mask = self._mask[:, unused:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, unused:], layer.values[:, :, unused:]


def likeliest_token(logits: torch.Tensor, before: Sequence[int]) -> int:
    """Greedy decoding. The batch knows it, and does it for all rows at once."""
    return int(logits.argmax())


def _padded(tensor: torch.Tensor, length: int, dimension: int) -> torch.Tensor:
    """A tensor with zeros put before it along a dimension (counted from the end), up to a length."""
    from torch.nn.functional import pad

    missing = length - tensor.shape[dimension]
    return pad(tensor, [0, 0] * (-dimension - 1) + [missing, 0]) if missing else tensor
