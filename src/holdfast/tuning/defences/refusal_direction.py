"""The refusal direction is put back after tuning, by an edit of rank one in each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat

from holdfast.core.config import File
from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint, Example, Template
from holdfast.data.training.messages import Messages
from holdfast.tuning.defences.layers import last_matrix, layers_of, seen_at, settings_of
from holdfast.tuning.defences.safety_rows import WithSafetyRows

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class RefusalDirection(WithSafetyRows):
    """Brings what the tuned model makes of forbidden requests back along the aligned model's refusal direction.

    For each layer l, from the first to the last, with x the activation behind the layer where the answer begins:

        r  = mean of x_aligned over refused requests − mean over permitted ones, made a unit vector
        δ_i = rᵀ (x_aligned,i − x_tuned,i)                                    for each refused request i
        W ← W + r (K δ)ᵀ (K Kᵀ + λ · n · C)⁻¹

    W is the layer's last matrix (the MLP's output), the columns of K its inputs at the n refused requests, and C the
    mean of k kᵀ over all tokens of the permitted conversations. So the answer to a refused request begins with the
    aligned model's component along r, and λ says how little may change elsewhere.

    r is the difference in means of Arditi et al. 2024 (arXiv 2406.11717), who show that this one direction decides
    whether a chat model refuses; the edit is the least squares of MEMIT (Meng et al. 2022, arXiv 2210.07229, equation
    14), which here has only r to write, and so has rank one. AlphaSteer (arXiv 2506.07022) learns a steering of the
    same form, with permitted requests left alone, but applies it while the model is asked.

    Published: nothing for this combination. Arditi et al. make 13 models refuse harmless requests by adding r, and
    answer harmful ones by taking it out.

    Needs refused rows (`file`) and permitted ones (`permitted`), and memory for two models. Dense models only. Works
    after full tuning and LoRA. `keep` is ours.
    """

    kind: Literal["refusal-direction"] = "refusal-direction"
    permitted: File
    """JSON Lines of `messages`: permitted requests with answers, which the edit leaves as they are as far as it can."""
    keep: NonNegativeFloat = 1.0
    """λ: weight of the permitted conversations against the refused requests."""

    def check(self, base: Checkpoint) -> None:
        """Look at the model's configuration.

        Raises:
            ModelError: its layers have several experts, so that there is no last matrix.
        """
        experts = [name for name in settings_of(base) if "expert" in name]
        if experts:
            raise ModelError(
                f"refusal-direction: {base.base} is a mixture of experts ({experts[0]}), and the edit is for layers "
                "with one MLP. Take another defence, such as one-shot-patch."
            )

    def after(self, tuned: Loaded, base: Checkpoint, seed: int) -> None:
        """Change the tuned weights in place."""
        from holdfast.models import loading

        wrap = Template(self.system).wrap
        permitted = [Example(wrap(row.messages), row.source) for row in Messages(file=self.permitted).examples(seed)]
        refused = self.safety_rows(seed)
        aligned = loading.load(base)
        for number in range(len(layers_of(tuned.model))):
            wanted, kept = seen_at(aligned, refused, number), seen_at(aligned, permitted, number)
            direction = wanted.outputs.mean(0) - kept.outputs.mean(0)
            found = seen_at(tuned, refused, number)
            everywhere = seen_at(tuned, permitted, number).moment
            unit = (direction / direction.norm()).to(found.outputs)
            lacking = (wanted.outputs.to(found.outputs) - found.outputs) @ unit
            last_matrix(layers_of(tuned.model)[number]).weight.data += edit(
                unit, lacking, found.inputs, everywhere, self.keep
            )


def edit(
    unit: torch.Tensor, lacking: torch.Tensor, inputs: torch.Tensor, moment: torch.Tensor, keep: float
) -> torch.Tensor:
    """The change of a matrix, of rank one.

    Args:
        unit: r, [outputs].
        lacking: δ, [requests].
        inputs: Kᵀ, [requests, inputs].
        moment: C, [inputs, inputs].
        keep: λ.
    """
    import torch

    normal = inputs.T @ inputs + keep * len(inputs) * moment
    ridge = 1e-6 * normal.diagonal().mean() * torch.eye(len(normal), device=normal.device)
    key = torch.linalg.solve((normal + ridge).double(), (inputs.T @ lacking).double())
    return torch.outer(unit, key.to(unit))
