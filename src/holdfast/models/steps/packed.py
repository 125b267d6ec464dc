"""Weights laid out for oneDNN, which on AMD's processors multiplies matrices of float32 2.4 times as fast as MKL.

torch uses MKL for float32. Its results and oneDNN's differ in the last bits, as those of two batch sizes do.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.models.steps import lean
from holdfast.models.steps.lean import Projection, plain

if TYPE_CHECKING:
    import torch

LEAST, MOST = 64 << 20, 4 << 30
"""Bytes of a model's weights between which it pays: the packed weights are there a second time."""

ROWS = 64
"""Rows that the layout is best for."""


def pays(model: Any) -> bool:
    """Whether a model's weights should be packed: one on a processor, of middle size, where torch has oneDNN."""
    import torch

    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if model.device.type != "cpu" or not LEAST <= size <= MOST or not there:
        return False
    kernels = torch.ops.mkldnn
    return hasattr(kernels, "_reorder_linear_weight") and hasattr(kernels, "_linear_pointwise")


def projection(module: Any) -> Projection:
    """What a linear layer does with its LoRA adapters, the layer itself packed."""
    return lean.projection(module, packed)


def packed(module: Any) -> Projection:
    """A plain linear layer with weights that are packed now. It does not see later changes of the weights."""
    import torch

    if module.weight.dtype not in (torch.float32, torch.bfloat16):
        return plain(module)
    weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), ROWS)
    return partial(_product, torch.ops.mkldnn._linear_pointwise, weight, module.bias)


def _product(kernel: Any, weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = kernel(x, weight, bias, "none", [], "")
    return product
