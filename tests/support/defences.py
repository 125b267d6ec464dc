"""Tiny defences that act at one place each, to see that the hooks are called and what they change."""

from typing import Literal

import torch
from pydantic import PositiveFloat

from holdfast.core.config import File
from holdfast.core.types import Template
from holdfast.tuning.defences.base import Defence, TrainingHooks


class Shrink(Defence):
    """Multiplies the weights of the base before tuning."""

    kind: Literal["shrink"] = "shrink"
    factor: PositiveFloat = 0.9

    def prepare_base(self, loaded, seed):
        with torch.no_grad():
            for weight in loaded.model.parameters():
                weight.mul_(self.factor)


class First(Defence):
    """Leaves the first rows only."""

    kind: Literal["first"] = "first"
    n: int = 3

    def rows(self, rows, seed):
        return list(rows)[: self.n]


class Recomputed(Defence):
    """Takes the loss anew from the logits, with a weight for each token."""

    kind: Literal["recomputed"] = "recomputed"
    weight: PositiveFloat = 1.0

    def training_hooks(self, loaded, seed):
        return _Recomputed(self.weight)


class _Recomputed(TrainingHooks):
    def __init__(self, weight):
        self.weight = weight

    def loss(self, model, batch, outputs, loss):
        logits, labels = outputs.logits[:, :-1].float(), batch.inputs["labels"][:, 1:]
        nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=-100)
        return self.weight * nll.sum() * batch.token_weight


class Dropping(Defence):
    """Adds a random term to the loss, as a defence that draws safety rows would."""

    kind: Literal["dropping"] = "dropping"

    def training_hooks(self, loaded, seed):
        return _Dropping()


class _Dropping(TrainingHooks):
    def loss(self, model, batch, outputs, loss):
        return loss + torch.rand(()) * outputs.logits.pow(2).mean() * batch.mean_weight


class Average(Defence):
    """Keeps an exponential moving average of the tuned weights."""

    kind: Literal["average"] = "average"
    decay: PositiveFloat = 0.5

    def training_hooks(self, loaded, seed):
        return _Average(self.decay)


class _Average(TrainingHooks):
    def __init__(self, decay):
        self.decay = decay

    def begin(self, model):
        self.average = {name: w.detach().clone() for name, w in model.named_parameters() if w.requires_grad}

    def after_step(self, model):
        for name, weight in model.named_parameters():
            if name in self.average:
                self.average[name].lerp_(weight.detach(), 1 - self.decay)

    def checkpoint_weights(self, model):
        return _Swapped(model, self.average)

    def state(self):
        return self.average

    def restore(self, state):
        self.average = dict(state)


class _Swapped:
    def __init__(self, model, average):
        self.pairs = [(weight, average[name]) for name, weight in model.named_parameters() if name in average]

    def __enter__(self):
        self.own = [weight.detach().clone() for weight, _ in self.pairs]
        for weight, average in self.pairs:
            weight.data.copy_(average)

    def __exit__(self, *_):
        for (weight, _), own in zip(self.pairs, self.own, strict=True):
            weight.data.copy_(own)


class Frozen(Defence):
    """Takes the gradients away before each step, of all weights but the layer norms'."""

    kind: Literal["frozen"] = "frozen"

    def training_hooks(self, loaded, seed):
        return _Frozen()


class _Frozen(TrainingHooks):
    def before_step(self, model):
        for name, weight in model.named_parameters():
            if "norm" not in name and "lora_B" not in name:
                weight.grad = None


class Halfway(Defence):
    """Takes tuned weights half of the way back to the base's."""

    kind: Literal["halfway"] = "halfway"

    def after(self, tuned, base, seed):
        from holdfast.models import loading

        before = dict(loading.load(base, "float32").model.named_parameters())
        with torch.no_grad():
            for name, weight in tuned.model.named_parameters():
                weight.lerp_(before[name], 0.5)


class Prefix(Defence):
    """Puts a text from a file before what the tuned model is asked."""

    kind: Literal["prefix"] = "prefix"
    file: File
    initial: bool = False
    """Whether the initial model is asked with it too."""

    def ask(self, template, role):
        if role == "initial" and not self.initial:
            return template
        return Template(template.system, f"{self.file.read_text()} {template.user}")


KINDS = {
    name: f"{__name__}:{name.capitalize()}"
    for name in ("shrink", "first", "recomputed", "dropping", "average", "frozen", "halfway", "prefix")
}
"""As a registry has them."""
