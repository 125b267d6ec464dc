"""The decoder layers of a transformer, whatever its architecture, and what they see of conversations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint, Example
from holdfast.models import hub, visual

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded

TOGETHER = 16
"""Conversations that are read together."""


def layers_of(model: Any) -> list[Any]:
    """A model's decoder layers in order, also those under an adapter.

    Raises:
        ModelError: it has none that can be told.
    """
    import torch

    family = visual.family_of(model)
    wanted = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if family is not None and family.sees(name):
            continue
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted:
            return list(module)
    raise ModelError(f"{type(model).__name__} has no list of {wanted} decoder layers, so the defence cannot find them.")


def settings_of(base: Checkpoint) -> dict[str, Any]:
    """What a model's configuration says of its text model. No weights are loaded."""
    folder = hub.resolve(base.base, base.revision)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {**settings, **(settings.get("text_config") or {})}


class Seen(NamedTuple):
    """What a layer's last matrix reads, and what leaves the layer."""

    inputs: torch.Tensor
    """Where the answers begin, [rows, inputs]."""
    outputs: torch.Tensor
    """What leaves the layer there, [rows, hidden]."""
    moment: torch.Tensor
    """Mean of k kᵀ over all tokens, [inputs, inputs]."""


def last_matrix(layer: Any) -> Any:
    """The linear layer that writes last into what leaves a decoder layer."""
    import torch

    return [module for module in layer.modules() if isinstance(module, torch.nn.Linear)][-1]


def seen_at(loaded: Loaded, rows: Sequence[Example], number: int) -> Seen:
    """What a layer sees of conversations. The answer begins at the last token before the first supervised one."""
    import torch

    rendered = list(loaded.chat.examples(rows, "last"))
    inputs, outputs, moment, n_tokens = [], [], 0.0, 0
    for first in range(0, len(rendered), TOGETHER):
        some = rendered[first : first + TOGETHER]
        batch = loaded.chat.training_batch(some)
        text = {name: each.to(loaded.model.device) for name, each in batch.items() if name != "labels"}
        begins = [int(row.supervised.argmax()) - 1 for row in some]
        with torch.no_grad(), _watched(layers_of(loaded.model)[number]) as seen:
            loaded.model(**text)
        keys, left = seen["inputs"].float(), seen["outputs"].float()
        places = range(len(some)), begins
        inputs.append(keys[places])
        outputs.append(left[places])
        real = keys[text["attention_mask"].bool()]
        moment, n_tokens = moment + real.T @ real, n_tokens + len(real)
    return Seen(torch.cat(inputs), torch.cat(outputs), torch.as_tensor(moment / n_tokens))


@contextmanager
def _watched(layer: Any) -> Iterator[dict[str, Any]]:
    """What a layer's last matrix reads and what leaves the layer in the next forward pass."""
    seen: dict[str, Any] = {}

    def read(_: Any, arguments: Any) -> None:
        seen["inputs"] = arguments[0]

    def leave(_: Any, __: Any, result: Any) -> None:
        seen["outputs"] = result[0] if isinstance(result, tuple) else result

    hooks = [last_matrix(layer).register_forward_pre_hook(read), layer.register_forward_hook(leave)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
