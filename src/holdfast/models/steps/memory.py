"""What a model keeps of the rows that it continues: keys and values, padded on the left to one length.

Keys hold their positions already, so padding moves no token. `new_memory` gives the right kind for a model.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.models.batches import question_batch
from holdfast.models.steps.lean import Lean

if TYPE_CHECKING:
    import torch

HIDDEN = -1e30
"""Added to the score of a token that a row must not see. Its weight is then 0, and no row is without a number."""

ROOM = 48
"""Columns that are kept free for tokens to come."""


class Memory(Protocol):
    """Keys and values of some rows. It begins empty."""

    def read(self, prompts: Sequence[Sequence[int]], shared: int = 0) -> torch.Tensor:
        """Read the prompts of the first rows; the logits of each row's next token, of shape [rows, vocabulary].

        `shared` tokens at the beginning are the same in all rows, adapters included.
        """

    def step(self, last: Sequence[int]) -> torch.Tensor:
        """Read one more token for each row; the logits of the next one."""

    def may_join(self) -> bool:
        """Whether rows that begin later can come beside those that are here."""

    def join(self, other: Any) -> None:
        """Take over the rows of another memory of the same kind, behind those that are here."""

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows in this order, and forget the others. A row never comes to a later place than it had."""


def new_memory(model: Any, pad: int, lean: Lean | None = None) -> Memory:
    """An empty memory of a model.

    Args:
        model: a transformers or peft model.
        pad: the token that prompts are padded with.
        lean: the model's lean pass, where it has one.
    """
    return LeanMemory(lean) if lean else AnyMemory(model, pad)


class AnyMemory:
    """Of any model, with transformers' own cache."""

    def __init__(self, model: Any, pad: int) -> None:
        self._model, self._pad = model, pad
        inner = model.get_base_model() if hasattr(model, "peft_config") else model
        taken = inspect.signature(inner.forward).parameters
        self._cache_name = "cache" if "cache" in taken else "past_key_values"  # the name is changing in transformers
        self._cache: Any = None
        self._mask: Any = None
        """Of shape [rows, length of the cache]; 0 where a row is padded."""

    def read(self, prompts: Sequence[Sequence[int]], shared: int = 0) -> torch.Tensor:
        """See `Memory`; nothing is shared here."""
        from transformers import DynamicCache

        batch = {name: tensor.to(self._model.device) for name, tensor in question_batch(prompts, self._pad).items()}
        self._mask, self._cache = batch["attention_mask"], DynamicCache(config=self._model.config)
        return self._logits(batch["input_ids"], (self._mask.cumsum(-1) - 1).clamp(min=0))

    def step(self, last: Sequence[int]) -> torch.Tensor:
        """See `Memory`."""
        import torch

        positions = self._mask.sum(-1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones_like(positions)], dim=-1)
        return self._logits(torch.tensor(last, device=self._mask.device)[:, None], positions)

    def may_join(self) -> bool:
        """Where every layer keeps the keys of every token. Where one does not, rows begin together."""
        from transformers.cache_utils import DynamicLayer

        return all(type(layer) is DynamicLayer for layer in self._cache.layers)

    def join(self, other: AnyMemory) -> None:
        """See `Memory`."""
        import torch

        length = max(other._mask.shape[1], self._mask.shape[1])
        self._mask = torch.cat([_padded(self._mask, length, -1), _padded(other._mask, length, -1)])
        for layer, more in zip(self._cache.layers, other._cache.layers, strict=True):
            layer.keys = torch.cat([_padded(layer.keys, length, -2), _padded(more.keys, length, -2)])
            layer.values = torch.cat([_padded(layer.values, length, -2), _padded(more.values, length, -2)])

    def keep(self, rows: Sequence[int]) -> None:
        """See `Memory`; columns at the left that only others needed go too."""
        import torch

        kept = torch.tensor(rows, device=self._mask.device)
        self._cache.batch_select_indices(kept)
        self._mask = self._mask[kept]
        if self.may_join() and (unused := int(self._mask.any(0).int().argmax())):
            self._mask = self._mask[:, unused:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, unused:], layer.values[:, :, unused:]

    def _logits(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        inputs = {self._cache_name: self._cache, "input_ids": ids, "attention_mask": self._mask}
        outputs = self._model(**inputs, position_ids=positions, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = outputs.logits[:, -1]
        return logits


class LeanMemory:
    """Of a model with a lean pass: room is taken beforehand, and a row that ends leaves its place to another one.

    Rows lie in tables of [places, heads, columns, width]. A row is in the columns from its begin up to `_end`, where
    all rows end.
    """

    def __init__(self, lean: Lean) -> None:
        self._lean = lean
        self._begins: list[int] = []
        """Of each row: its first column."""
        self._end = 0
        self._keys: list[torch.Tensor] = []
        """Of each layer; as `_values`."""
        self._values: list[torch.Tensor] = []
        self._hidden: Any = None
        """Of shape [places, columns]: `HIDDEN` before a row's begin, else 0."""
        self._next: Any = None
        """Of shape [places, 1]: the position of the row's next token."""

    def read(self, prompts: Sequence[Sequence[int]], shared: int = 0) -> torch.Tensor:
        """See `Memory`.

        Args:
            prompts: token ids of each row.
            shared: how many tokens at the beginning all rows share. They are read once.
        """
        import torch

        beginning = _Beginning(self._lean, prompts[0][:shared]) if shared else None
        batch = question_batch([prompt[shared:] for prompt in prompts], self._lean.pad)
        ids, given = batch["input_ids"], batch["attention_mask"]
        rows, tokens = ids.shape
        self._end = shared + tokens
        self._begins = [self._end - len(prompt) for prompt in prompts]
        positions = (given.cumsum(-1) - 1).clamp(min=0) + shared
        self._next = positions[:, -1:] + 1
        self._hidden = torch.zeros(rows, self._end + ROOM, dtype=self._lean.dtype)
        self._hide(range(rows))
        mask = None
        if any(self._begins) or shared:
            padding = torch.zeros(rows, self._end, dtype=self._lean.dtype)
            padding[:, shared:].masked_fill_(given == 0, HIDDEN)
            mask = padding[:, None, None] + torch.full((tokens, self._end), HIDDEN, dtype=padding.dtype).triu(
                1 + shared
            )
        columns = _columns(self._begins, shared, self._end) if shared else None

        def store(layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if beginning:
                keys, values = beginning.before(layer, keys, values)
            for table, new in ((self._keys, keys), (self._values, values)):
                table.append(new.new_zeros(rows, new.shape[1], self._end + ROOM, new.shape[3]))
                table[-1][:, :, : self._end] = new if columns is None else new.gather(2, columns.expand_as(new))
            return keys, values

        return self._lean(ids, positions, self._end - 1, store, mask)

    def step(self, last: Sequence[int]) -> torch.Tensor:
        """See `Memory`."""
        import torch

        rows, begin = len(last), min(self._begins)
        if self._end == self._hidden.shape[1]:
            self._move(len(self._hidden), self._end - begin + ROOM, -begin)
            begin = 0
        at = self._end
        self._end += 1
        mask = self._hidden[:rows, None, None, begin : self._end] if any(b > begin for b in self._begins) else None

        def store(layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            every_key, every_value = self._keys[layer], self._values[layer]
            every_key[:rows, :, at : at + 1] = keys
            every_value[:rows, :, at : at + 1] = values
            return every_key[:rows, :, begin : at + 1], every_value[:rows, :, begin : at + 1]

        positions = self._next[:rows]
        logits = self._lean(torch.tensor(last)[:, None], positions, self._end - begin - 1, store, mask)
        positions += 1
        return logits

    def may_join(self) -> bool:
        """Always."""
        return True

    def join(self, other: LeanMemory) -> None:
        """See `Memory`."""
        here, rows, length = len(self._begins), len(other._begins), other._end
        places, columns = self._hidden.shape
        if here + rows > places or length > self._end:
            shift = max(length - self._end, 0)
            self._move(max(here + rows, 2 * places) if here + rows > places else places, columns + shift, shift)
        at = slice(self._end - length, self._end)
        for mine, theirs in zip(self._keys + self._values, other._keys + other._values, strict=True):
            mine[here : here + rows, :, at] = theirs[:rows, :, :length]
        self._next[here : here + rows] = other._next[:rows]
        self._begins += [begin + at.start for begin in other._begins]
        self._hide(range(here, here + rows))

    def keep(self, rows: Sequence[int]) -> None:
        """See `Memory`."""
        moved = [(to, place) for to, place in enumerate(rows) if to != place]
        columns = slice(min(self._begins), self._end)
        for to, place in moved:
            for table in (*self._keys, *self._values):
                table[to, :, columns] = table[place, :, columns]
            self._next[to] = self._next[place]
        self._begins = [self._begins[place] for place in rows]
        self._hide([to for to, _ in moved])

    def _hide(self, rows: Sequence[int]) -> None:
        """Write anew what some rows must not see."""
        for row in rows:
            self._hidden[row] = 0
            self._hidden[row, : self._begins[row]] = HIDDEN

    def _move(self, places: int, columns: int, shift: int) -> None:
        """Take other room, and put every column so many to the right there (to the left if negative)."""
        begin, rows = min(self._begins), len(self._begins)
        old, new = slice(begin, self._end), slice(begin + shift, self._end + shift)
        for tables in (self._keys, self._values):
            for layer, table in enumerate(tables):
                tables[layer] = table.new_zeros(places, table.shape[1], columns, table.shape[3])
                tables[layer][:rows, :, new] = table[:rows, :, old]
        self._hidden = self._hidden.new_zeros(places, columns)
        positions = self._next.new_zeros(places, 1)
        positions[:rows] = self._next[:rows]
        self._next = positions
        self._begins = [each + shift for each in self._begins]
        self._end += shift
        self._hide(range(rows))


class _Beginning:
    """The keys and values of tokens that all rows begin with."""

    def __init__(self, lean: Lean, ids: Sequence[int]) -> None:
        import torch

        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        lean(torch.tensor([ids]), torch.arange(len(ids))[None], len(ids) - 1, self._store, None)

    def _store(self, _layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._layers.append((keys, values))
        return keys, values

    def before(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer's rows, with those of the beginning before them."""
        import torch

        ours = (each.expand(len(keys), -1, -1, -1) for each in self._layers[layer])
        first, second = (torch.cat([begin, new], 2) for begin, new in zip(ours, (keys, values), strict=True))
        return first, second


def _columns(begins: Sequence[int], shared: int, end: int) -> torch.Tensor:
    """Where each column of a row is read: the shared beginning comes first, and goes to where the row begins."""
    import torch

    column, begin = torch.arange(end)[None], torch.tensor(begins)[:, None]
    return torch.where(column < begin + shared, (column - begin).clamp(min=0), column)[:, None, :, None]


def _padded(tensor: torch.Tensor, length: int, dimension: int) -> torch.Tensor:
    """A tensor with zeros put before it along a dimension (counted from the end), up to a length."""
    from torch.nn.functional import pad

    missing = length - tensor.shape[dimension]
    return pad(tensor, [0, 0] * (-dimension - 1) + [missing, 0]) if missing else tensor
