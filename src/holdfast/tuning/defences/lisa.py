"""Lisa: safety steps and user steps in turn, none of which may go far from the other's (Huang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from holdfast.tuning.defences.base import Batch, TrainingHooks
from holdfast.tuning.defences.safety_rows import RowsAtHand, WithSafetyRows

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class Lisa(WithSafetyRows):
    """Tunes on safety rows and on the user's rows in turn, with a proximal term (arXiv 2405.18641, algorithm 2).

    `safety_steps` (K1) steps of the optimizer take their loss on safety rows, the next `user_steps` (K2) on the user's,
    and so on. Both add

        (ρ / 2) · ||w - w_last||²

    where w_last are the weights at which the other kind of steps ended (at first: the aligned model's). As in the
    authors' code, the user's rows that come up during a safety step are passed over, and the proximal term is left out
    of the first `warmup` steps. A safety step draws as many safety rows as there are user rows in the batch.

    Published (Llama-2-7B aligned by the authors, 5,000 rows of SST2, harmful answers; table 3): 49.0 % with the
    alternation alone and 40.2 % with the term, where 10 % of the rows are harmful; 46.1 % and 39.6 % as a mean over 0
    to 30 %, with 0.4 points less accuracy.
    Needs safety rows, and with full tuning memory for one more copy of the weights. The paper has K1 = 100 and K2 = 900
    in tunings of 20,000 steps; small tunings would end before the first user step. So the defaults are the same 1 to 9
    in short turns; ρ = 1 is the paper's. Where several defences act, name this one last: it takes the place of
    what they do to the loss of the user's rows.
    """

    copies: ClassVar[int] = 1
    kind: Literal["lisa"] = "lisa"
    safety_steps: PositiveInt = 1
    """K1."""
    user_steps: PositiveInt = 9
    """K2."""
    rho: NonNegativeFloat = 1.0
    """ρ."""
    warmup: int = Field(0, ge=0)
    """Steps at the beginning without the proximal term; the authors' code takes a tenth of all steps."""

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """The two kinds of steps."""
        return _Lisa(self, RowsAtHand(loaded, loaded.chat.examples(self.safety_rows(seed))))


class _Lisa(TrainingHooks):
    reads_outputs = False

    def __init__(self, defence: Lisa, safe: RowsAtHand) -> None:
        self.defence, self.safe = defence, safe
        self.steps = 0
        self.last: dict[str, torch.Tensor] = {}

    def begin(self, model: Any) -> None:
        self.model = model
        self._mark()

    def _mark(self) -> None:
        """The weights that the next steps may not go far from are those of now."""
        self.last = {name: weight.detach().clone() for name, weight in self._trained()}

    def _trained(self) -> list[tuple[str, Any]]:
        return [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]

    @property
    def safety_step(self) -> bool:
        """Whether the step under way is one on safety rows."""
        return self.steps % (self.defence.safety_steps + self.defence.user_steps) < self.defence.safety_steps

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        if self.safety_step:
            drawn = self.safe.draw(len(batch.inputs["input_ids"]))
            loss = self.safe.nll(model, drawn, loss.device) * batch.mean_weight
        if not self.defence.rho or self.steps < self.defence.warmup:
            return loss
        for name, weight in self._trained():
            distance = (weight - self.last[name].to(weight.device)).pow(2).sum()
            loss = loss + self.defence.rho / 2 * distance * batch.mean_weight
        return loss

    def after_step(self, model: Any) -> None:
        was_safety = self.safety_step
        self.steps += 1
        if self.safety_step != was_safety:
            self._mark()

    def state(self) -> dict[str, torch.Tensor]:
        import torch

        return {"steps": torch.tensor(self.steps), **{f"last.{name}": weight for name, weight in self.last.items()}}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        self.steps = int(state["steps"])
        self.last = {name.removeprefix("last."): weight for name, weight in state.items() if name != "steps"}
