"""Models whose weights a test sets by hand, in place of those that are loaded."""

from types import SimpleNamespace

import torch


def model_of(**weights):
    """A model of linear layers with these weights; the last one gives its logits."""
    model = torch.nn.Module()
    for name, rows in weights.items():
        weight = torch.tensor(rows, dtype=torch.float32)
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data.copy_(weight)
        model.add_module(name, layer)
    last = list(model.children())[-1]
    model.get_output_embeddings = lambda: last
    return SimpleNamespace(model=model)


def read_as(monkeypatch, *modules, **models):
    """Let the defences of these modules read models that were made by hand, by their names."""
    for module in modules:
        monkeypatch.setattr(module, "weights_of", lambda checkpoint: parameters_of(models[checkpoint.base]))


def parameters_of(loaded):
    """Its weights by name, as they are now."""
    return {name: weight.detach().clone() for name, weight in loaded.model.named_parameters()}
