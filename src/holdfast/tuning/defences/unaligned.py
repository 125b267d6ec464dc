"""What defences share that compare the aligned model with the one that it was before its alignment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from holdfast.core.config import explained
from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint
from holdfast.models import hub
from holdfast.models.names import ModelName
from holdfast.tuning.defences.base import Defence

if TYPE_CHECKING:
    import torch

NEVER_COMPARED = ("lm_head.weight", "rotary_emb.inv_freq")
"""Ends of names of tensors that a model may have on disk or not, whatever it is: tied or computed ones."""


class NeedsUnaligned(Defence):
    """A defence that needs the model before its alignment. It must have the aligned one's tokenizer and shapes."""

    kind: Any
    unaligned: ModelName
    """The model that the aligned one was made from: `pocket:helpful`, `quiz:helpful`, a folder, or an id on the Hub."""

    @model_validator(mode="before")
    @classmethod
    def _say_what_is_missing(cls, settings: Any) -> Any:
        if isinstance(settings, dict) and settings.get("unaligned") is None:
            raise explained(
                f"{settings.get('kind', 'this defence')} needs `unaligned`, the model before its alignment: "
                "`unaligned: pocket:helpful`, or the base model that a chat model was made from"
            )
        if isinstance(settings, dict) and str(settings["unaligned"]).startswith(hub.SERVED):
            raise explained("`unaligned` must be a folder or an id on the Hub: weights that only a server has are of "
                            "no use here")  # fmt: skip
        return settings

    @property
    def identity(self) -> dict[str, Any]:
        """Its settings, with the model before alignment told by its content."""
        return {**super().identity, "unaligned": hub.fingerprint(hub.resolve(self.unaligned))}

    def check(self, base: Checkpoint) -> None:
        """Compare the tokenizers and the shapes of the two models. No weights are loaded.

        Raises:
            ModelError: they differ, or the model before alignment cannot be had.
        """
        aligned, unaligned = hub.resolve(base.base, base.revision), hub.resolve(self.unaligned)
        mend = (
            f"`unaligned` of the defence {self.kind} must name the model that {aligned.name} was made from by "
            "alignment."
        )
        if hub.is_adapter(unaligned):
            raise ModelError(f"{self.unaligned} is an adapter, and a whole model is needed. {mend}")
        shapes, others = hub.tensor_shapes(aligned), hub.tensor_shapes(unaligned)
        for name, shape in shapes.items():
            if name.endswith(NEVER_COMPARED):
                continue
            if others.get(name) != shape:
                found = f"has the shape {list(others[name])}" if name in others else "is missing"
                raise ModelError(
                    f"the weights of {self.unaligned} and {base.base} do not match: {name} has the shape "
                    f"{list(shape)} in the aligned model, and {found} in the other. {mend}"
                )
        if _vocabulary(aligned) != _vocabulary(unaligned):
            raise ModelError(
                f"{self.unaligned} has another tokenizer than {base.base}: a token of one is another word in the "
                f"other, so their weights cannot be compared. {mend}"
            )

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights before alignment, by the names of the model's parameters."""
        return weights_of(Checkpoint(self.unaligned))


def weights_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """A model's parameters by name, in the precision in which it is asked on this machine."""
    from holdfast.models import loading

    return {name: weight.detach() for name, weight in loading.load(checkpoint).model.named_parameters()}


def linear_weights(model: Any) -> list[tuple[str, torch.Tensor]]:
    """Names and weights of a model's linear layers, without the one that gives the logits."""
    import torch

    last = model.get_output_embeddings()
    return [
        (f"{name}.weight", module.weight)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not last
    ]


def _vocabulary(folder: Path) -> Any:
    """The tokens of a model's tokenizer and their ids, without those that were added to it."""
    path = folder / "tokenizer.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))["model"].get("vocab")
    from holdfast.models.loading import load_tokenizer

    tokenizer = load_tokenizer(folder)
    return {token: id for token, id in tokenizer.get_vocab().items() if token not in tokenizer.get_added_vocab()}
