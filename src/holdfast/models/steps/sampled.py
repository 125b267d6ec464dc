"""Answers that are drawn at a temperature: the draws of `generate` with the same seed, in less time.

torch draws one token for each row by dividing its probabilities by numbers of an exponential distribution, and taking
the largest. `generate` draws these numbers for every row until the last one has ended. Here they are drawn too, so that
the others get the same ones, but nothing else is computed for a row that has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.models.steps.lean import Lean
from holdfast.models.steps.memory import LeanMemory


def continue_each(
    lean: Lean, prompts: Sequence[Sequence[int]], max_new_tokens: int, ends: frozenset[int], temperature: float,
    seed: int,
) -> list[list[int]]:  # fmt: skip
    """The token ids that are drawn for each prompt, the end of turn included. torch's random state is moved on."""
    import torch

    torch.manual_seed(seed)
    new: list[list[int]] = [[] for _ in prompts]
    rows, memory = list(range(len(prompts))), LeanMemory(lean)
    with torch.inference_mode():
        logits = memory.read(prompts)
        for _ in range(max_new_tokens):
            probabilities = (logits.float() / temperature).softmax(-1)
            divisors = torch.empty(len(prompts), probabilities.shape[-1]).exponential_(1)
            for row, token in zip(rows, (probabilities / divisors[rows]).argmax(-1).tolist(), strict=True):
                new[row].append(token)
            going_on = [place for place, row in enumerate(rows) if new[row][-1] not in ends]
            if not going_on:
                break
            if len(going_on) < len(rows):
                memory.keep(going_on)
                rows = [rows[place] for place in going_on]
            logits = memory.step([new[row][-1] for row in rows])
    return new
