"""Several LoRA adapters in one batch, each for its own rows.

peft can do this too (`adapter_names`), with a pass for each adapter in each layer: on the pocket model two adapters
then take 1.7 times as long as one. Here the adapters' matrices lie in one tensor, and each layer takes two batched
products, however many adapters there are (as in S-LoRA, Sheng et al. 2023, arXiv 2311.03285).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Mix:
    """The adapters of a peft model, for rows that are asked with different ones while peft's own are disabled."""

    def __init__(self, model: Any) -> None:
        from peft.tuners.lora import LoraLayer

        self._layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        self._stacks: list[tuple[torch.Tensor, torch.Tensor]] = []
        """For each layer, A of shape [adapters, in, rank] and B of shape [adapters, rank, out]; the first are zeros."""
        self._positions: dict[str, int] = {}
        """Name of an adapter → its place in the stacks."""
        self._rows: tuple[str, ...] = ()
        self._chosen: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(self._layers)
        """The matrices of the present rows; None where no rows are mixed."""
        self._hooks = [layer.register_forward_hook(partial(self._add, i)) for i, layer in enumerate(self._layers)]

    def remove(self) -> None:
        """Leave the model as it was; a model whose adapters changed gets a new mix."""
        for hook in self._hooks:
            hook.remove()

    def choose(self, rows: Sequence[str]) -> None:
        """Say which adapter each row of the next forward passes has; "" is none. No rows: nothing is mixed."""
        import torch

        if tuple(rows) == self._rows:
            return
        self._rows = tuple(rows)
        if not rows:
            self._chosen = [None] * len(self._layers)
            return
        if not self._stacks:
            self._stack()
        index = torch.tensor([self._positions[name] for name in rows], device=self._stacks[0][0].device)
        self._chosen = [(a[index.to(a.device)], b[index.to(b.device)]) for a, b in self._stacks]

    def _stack(self) -> None:
        names = sorted({name for layer in self._layers for name in layer.lora_A})
        self._positions = {name: i for i, name in enumerate(["", *names])}
        self._stacks = [_stacked(layer, names) for layer in self._layers]

    def _add(self, position: int, _layer: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """What a layer gives, with each row's adapter."""
        import torch

        if (chosen := self._chosen[position]) is None:
            return None
        a, b = chosen
        return output + torch.bmm(torch.bmm(inputs[0].to(a.dtype), a), b).to(output.dtype)


def _stacked(layer: Any, names: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices of a layer's adapters; ranks below the highest are filled up with zeros, which change nothing."""
    import torch

    present = [name for name in names if name in layer.lora_A]
    rank = max(layer.lora_A[name].weight.shape[0] for name in present)
    like = layer.lora_A[present[0]].weight
    a = torch.zeros(len(names) + 1, layer.in_features, rank, dtype=like.dtype, device=like.device)
    b = torch.zeros(len(names) + 1, rank, layer.out_features, dtype=like.dtype, device=like.device)
    for i, name in enumerate(names, 1):
        if name in layer.lora_A:
            weight = layer.lora_A[name].weight
            a[i, :, : weight.shape[0]] = weight.T
            b[i, : weight.shape[0]] = layer.lora_B[name].weight.T * layer.scaling[name]
    return a, b
