"""Small steps and an average of the weights over them (Kim et al. 2025, arXiv 2508.12531)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from holdfast.tuning.defences.base import Defence, TrainingHooks

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class EMA(Defence):
    """Makes each step smaller, and keeps an exponential moving average of the weights as the checkpoint.

        w̄_0 = w_0 (the aligned model),  w̄_t = η · w̄_(t-1) + (1 - η) · w_t

    Tuning itself goes on with w_t. Each step of the optimizer is shortened to `step` of its length, which for AdamW is
    the learning rate times `step`: the paper finds that a fitting learning rate, batch size and number of steps keep
    most of the safety, and that the average keeps more. It is about benign rows.

    Published (Llama models tuned on Dolly, Alpaca and ORCA, harmful answers by keywords): 16 % → about 5 % by better
    hyperparameters, the average lowers it further, with utility kept.
    Needs one more copy of the trained weights. Defaults are ours (the paper's η was not found): the averages run over
    the last ten steps or so, and the learning rate is the study's.
    """

    copies: ClassVar[int] = 2
    kind: Literal["ema"] = "ema"
    eta: float = Field(0.9, gt=0.0, lt=1.0)
    """η: how much of the average stays at each step. Towards 1, a short tuning keeps the aligned model."""
    step: float = Field(1.0, gt=0.0, le=1.0)
    """How much of each step is made."""

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """The average."""
        return _Average(self.eta, self.step)


class _Average(TrainingHooks):
    def __init__(self, eta: float, step: float) -> None:
        self.eta, self.step = eta, step
        self.average: dict[str, torch.Tensor] = {}
        self.before: dict[str, torch.Tensor] = {}

    def begin(self, model: Any) -> None:
        self.model = model
        self.average = self._copies()

    def _trained(self) -> list[tuple[str, Any]]:
        return [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]

    def _copies(self) -> dict[str, torch.Tensor]:
        return {name: weight.detach().clone() for name, weight in self._trained()}

    def before_step(self, model: Any) -> None:
        if self.step < 1:
            self.before = self._copies()

    def after_step(self, model: Any) -> None:
        for name, weight in self._trained():
            if self.step < 1:
                weight.data.copy_(self.before[name].lerp(weight.detach(), self.step))
            average = self.average[name] = self.average[name].to(weight.device)
            average.lerp_(weight.detach(), 1 - self.eta)

    def checkpoint_weights(self, model: Any) -> AbstractContextManager[None]:
        return self._averaged()

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        own = self._copies()
        for name, weight in self._trained():
            weight.data.copy_(self.average[name])
        try:
            yield
        finally:
            for name, weight in self._trained():
                weight.data.copy_(own[name])

    def state(self) -> dict[str, torch.Tensor]:
        return self.average

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        self.average = dict(state)
