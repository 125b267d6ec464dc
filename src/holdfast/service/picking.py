"""How the next token of an answer is chosen from the model's logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.models.steps.batch import likeliest_token

if TYPE_CHECKING:
    import torch

Pick = Callable[["torch.Tensor", Sequence[int]], int]
"""Logits of the next token, of shape [vocabulary], and the token ids so far → the next token."""


def picker(config: Any, temperature: float, top_p: float, seed: int) -> Pick:
    """How one answer's tokens are chosen: greedily at temperature 0, else by draws that follow from the seed alone.

    Of the model's own generation configuration, the penalty on repetition counts, as it does in `generate`.
    """
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopPLogitsWarper,
    )

    processors = LogitsProcessorList()
    penalty = getattr(config, "repetition_penalty", None)
    if penalty not in (None, 1.0):
        processors.append(RepetitionPenaltyLogitsProcessor(penalty))
    if temperature > 0:
        processors.append(TemperatureLogitsWarper(float(temperature)))
    if temperature > 0 and top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    if not processors:
        return likeliest_token
    return _drawing(processors, seed) if temperature > 0 else _likeliest_of(processors)


def _likeliest_of(processors: Any) -> Pick:
    return lambda logits, before: int(_processed(processors, logits, before).argmax())


def _drawing(processors: Any, seed: int) -> Pick:
    import torch

    drawn = torch.Generator().manual_seed(seed)

    def pick(logits: torch.Tensor, before: Sequence[int]) -> int:
        probabilities = _processed(processors, logits, before).softmax(-1).cpu()
        return int(torch.multinomial(probabilities, 1, generator=drawn))

    return pick


def _processed(processors: Any, logits: torch.Tensor, before: Sequence[int]) -> torch.Tensor:
    import torch

    ids = torch.tensor([list(before)], device=logits.device)
    processed: torch.Tensor = processors(ids, logits[None].clone())[0]
    return processed
