"""Safe conversations chosen by a gap of perplexity are interleaved with the user's (Kaczér et al. 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from holdfast.core.types import Checkpoint, Example
from holdfast.tuning.defences import tokens
from holdfast.tuning.defences.base import Batch, TrainingHooks
from holdfast.tuning.defences.safety_rows import RowsAtHand, WithSafetyRows
from holdfast.tuning.defences.unaligned import NeedsUnaligned

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class PerplexityMix(WithSafetyRows, NeedsUnaligned):
    """Interleaves the safe conversations that an unaligned model finds most surprising (arXiv 2508.06249, ICML 2026).

    Of the rows of `file`, the `keep` with the largest

        gap(x, y) = PPL_unaligned(y | x) − PPL_aligned(y | x),   PPL = exp(−1/T Σ_t log π(y_t | x, y_<t))

    are kept: those in which the two models differ, and that therefore hold the aligned one where it is. Rows drawn from
    them make up `share` of each batch, and their tokens count as the user's do.

    It follows "Interleaving++", with three differences. The paper ranks by (L_mis − L_aligned) / (L_aligned + ε),
    where L is the mean loss of an answer's tokens and L_mis its mean over several misaligned models; it leaves
    answers out that are refusals, because many of them made answers incoherent; and it adds 5 % of the user's rows.
    Here `share` and `keep` are ours, and `file` decides whether there are refusals.

    Published: of the in-training defences that the paper compares against emergent misalignment, it alone prevents it,
    lets the narrow task and benign tasks be learnt, and stays coherent (Qwen2.5 of 7 and 32 billion parameters).

    The paper takes its misaligned models from tuning on misaligned rows, and its candidates from a general set of
    instructions; here they are `unaligned`, which may be such a model, and `file`.

    Needs safe conversations and an unaligned model, which is in memory before tuning only.
    """

    kind: Literal["perplexity-mix"] = "perplexity-mix"
    keep: PositiveInt = 100
    """How many rows are kept; all of them if there are fewer."""
    share: float = Field(0.1, gt=0.0, lt=1.0)
    """Share of the rows of a batch, on average, that are safe ones."""

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """The interleaving."""
        from holdfast.models import loading

        rows = self.safety_rows(seed)
        unaligned = loading.load(Checkpoint(self.unaligned, thinking=loaded.chat.thinking))
        gaps = [
            one - other for one, other in zip(perplexities(unaligned, rows), perplexities(loaded, rows), strict=True)
        ]
        return _Interleaved(self.share, RowsAtHand(loaded, loaded.chat.examples(largest(rows, gaps, self.keep))))


def perplexities(loaded: Loaded, rows: Sequence[Example]) -> list[float]:
    """The perplexity of the last answer of each row; 1, the least, where it cannot be had."""
    from holdfast.models.likelihood import token_logprobs

    exchanges = [(row.messages[:-1], row.messages[-1].content) for row in rows]
    found = token_logprobs(loaded, exchanges)
    return [1.0 if logprobs is None else math.exp(-float(logprobs.mean())) for logprobs in found]


def largest(rows: Sequence[Example], gaps: Sequence[float], keep: int) -> list[Example]:
    """The rows with the largest gaps, in their own order."""
    best = sorted(range(len(rows)), key=lambda number: -gaps[number])[:keep]
    return [rows[number] for number in sorted(best)]


class _Interleaved(TrainingHooks):
    reads_outputs = False

    def __init__(self, share: float, rows: RowsAtHand) -> None:
        self.share, self.rows = share, rows
        self.owed = 0.0
        """Safe rows that are due, of which only whole ones are drawn."""

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        self.owed += len(batch.inputs["input_ids"]) * self.share / (1 - self.share)
        drawn = self.rows.draw(int(self.owed))
        self.owed -= int(self.owed)
        if not drawn:
            return loss
        n_safe = sum(self.rows.rows[number].n_supervised for number in drawn)
        n_user = int((tokens.next_labels(batch.inputs) != tokens.IGNORED).sum())
        safe = self.rows.nll(model, drawn, loss.device) * n_safe * batch.token_weight
        return (loss + safe) * n_user / (n_user + n_safe)

    def state(self) -> dict[str, torch.Tensor]:
        import torch

        return {"owed": torch.tensor(self.owed, dtype=torch.float64)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        self.owed = float(state["owed"])
