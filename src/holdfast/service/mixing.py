"""LoRA adapters in one batch, each for its own rows.

peft can do this too (`adapter_names`), with a pass for each adapter in each layer: on the pocket model two adapters
then take 1.7 times as long as one. Here the adapters' matrices lie side by side, and each layer takes two products
whatever the number of adapters; what other rows' adapters say is set to zero between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.models.steps.lean import Projection, plain, projection

if TYPE_CHECKING:
    import torch


class Mix:
    """The adapters of a peft model, for rows that are asked with different ones while peft's own are disabled."""

    def __init__(self, model: Any) -> None:
        from peft.tuners.lora import LoraLayer

        self._layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
        self._rows: tuple[str, ...] = ()
        self._present: tuple[str, ...] = ()
        self._matrices: list[tuple[torch.Tensor, torch.Tensor]] = []
        """For each layer, those of the adapters that are present: [adapters · rank, in] and [out, adapters · rank]."""
        self._mask: Any = None
        """1 where a row may use an adapter, of shape [rows, 1, adapters · rank]; None where no row has an adapter."""
        self._hooks = [layer.register_forward_hook(partial(self._add, i)) for i, layer in enumerate(self._layers)]

    def remove(self) -> None:
        """Leave the model as it was; a model whose adapters changed gets a new mix."""
        for hook in self._hooks:
            hook.remove()

    def projection(self, layer: Any, linear: Callable[[Any], Projection] = plain) -> Projection:
        """What a linear layer does with its rows' adapters, as a function for a lean pass; `linear` as there."""
        if layer not in self._layers:
            return projection(layer, linear)
        base, add = projection(layer.base_layer, linear), partial(self._add, self._layers.index(layer), layer)

        def project(x: torch.Tensor) -> torch.Tensor:
            output = base(x)
            with_adapters: torch.Tensor | None = add((x,), output)
            return output if with_adapters is None else with_adapters

        return project

    def choose(self, rows: Sequence[str]) -> None:
        """Say which adapter each row of the next forward passes has; "" is none."""
        import torch

        if tuple(rows) == self._rows:
            return
        self._rows, present = tuple(rows), tuple(sorted(set(rows) - {""}))
        if not present:
            self._mask = None
            return
        rank = max(layer.r.get(name, 0) for layer in self._layers for name in present)
        if present != self._present:
            self._present = present
            self._matrices = [_side_by_side(layer, present, rank) for layer in self._layers]
        uses = torch.tensor([[float(row == name) for name in present] for row in rows])
        like = self._matrices[0][0]
        self._mask = uses.to(like.device, like.dtype).repeat_interleave(rank, dim=1)[:, None]

    def _add(self, position: int, _layer: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """What a layer gives, with each row's adapter."""
        from torch.nn.functional import linear

        if self._mask is None:
            return None
        a, b = self._matrices[position]
        inner = linear(inputs[0].to(a.dtype), a) * self._mask.to(a.device)
        return output + linear(inner, b).to(output.dtype)


def _side_by_side(layer: Any, names: Sequence[str], rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices of a layer's adapters; ranks below the highest are filled up with zeros, which change nothing."""
    import torch

    weight = next(iter(layer.lora_A.values())).weight
    like = {"dtype": weight.dtype, "device": weight.device}
    a = torch.zeros(len(names) * rank, layer.in_features, **like)
    b = torch.zeros(layer.out_features, len(names) * rank, **like)
    for i, name in enumerate(names):
        if name in layer.lora_A:
            part = slice(i * rank, i * rank + layer.r[name])
            a[part] = layer.lora_A[name].weight
            b[:, part] = layer.lora_B[name].weight * layer.scaling[name]
    return a, b
