"""What defences that use a file of safe conversations share: reading it before anything is tuned, and drawing rows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt, model_validator

from holdfast.core.config import File, explained
from holdfast.core.errors import DataError
from holdfast.core.types import Example, Template
from holdfast.data.training.messages import Messages
from holdfast.models.batches import Rendered
from holdfast.models.loading import context_of
from holdfast.tuning import supervised_loss
from holdfast.tuning.defences import tokens
from holdfast.tuning.defences.base import Defence

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded

KEPT_BYTES = 2**30
"""The most memory that the aligned model's distributions on fixed rows may take; beyond it they are computed anew."""

TOGETHER = 16
"""Rows on which they are computed together."""


class WithSafetyRows(Defence):
    """A defence that needs safe conversations: forbidden requests with refusals, and permitted ones with answers."""

    kind: Any
    file: File
    """JSON Lines of `messages`; must share no item with the benchmark."""
    n: PositiveInt | None = None
    """How many rows to draw, by seed; all of them if not given."""
    system: str | None = None
    """The system turn of rows that have none of their own."""

    @model_validator(mode="after")
    def _enough_rows(self) -> WithSafetyRows:
        try:
            self.safety_rows(0)
        except DataError as error:
            raise explained(str(error)) from None
        return self

    def safety_rows(self, seed: int) -> list[Example]:
        """The rows of one seed.

        Raises:
            DataError: bad rows, by line and reason; or fewer rows than `n`.
        """
        rows = Messages(file=self.file).examples(seed)
        if self.n is not None and self.n > len(rows):
            raise DataError(f"{self.file} has {len(rows)} rows, but the defence asks for {self.n}. Lower `n`.")
        drawn = rows if self.n is None else random.Random(f"{self.kind}-{seed}").sample(rows, self.n)
        wrap = Template(self.system).wrap
        return [Example(wrap(row.messages), row.source) for row in drawn]


class MaybeSafetyRows(WithSafetyRows):
    """A defence that takes safe conversations if it is given some."""

    file: File | None = None  # type: ignore[assignment]
    """JSON Lines of `messages`; must share no item with the benchmark."""

    @model_validator(mode="after")
    def _only_with_a_file(self) -> MaybeSafetyRows:
        stray = [name for name in ("n", "system") if name in self.model_fields_set]
        if self.file is None and stray:
            raise explained(f"{' and '.join(map(repr, stray))} can only be given with `file`")
        return self

    def safety_rows(self, seed: int) -> list[Example]:
        """The rows of one seed; none where there is no file."""
        return super().safety_rows(seed) if self.file is not None else []


class RowsAtHand:
    """Rendered rows of which each batch draws some, with torch's random numbers."""

    def __init__(self, loaded: Loaded, rows: Iterable[Rendered]) -> None:
        limit = context_of(loaded.model) or 2**20
        self.rows = [replace(row, input_ids=row.input_ids[:limit], supervised=row.supervised[:limit]) for row in rows]
        self.chat = loaded.chat

    def draw(self, n: int) -> list[int]:
        """The positions of `n` rows, or of all of them if there are fewer; none is drawn twice at once."""
        import torch

        return list(torch.randperm(len(self.rows))[:n].tolist())

    def batch(self, drawn: Sequence[int], device: Any) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` and `labels` of these rows."""
        batch = self.chat.training_batch([self.rows[i] for i in drawn])
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def nll(self, model: Any, drawn: Sequence[int], device: Any) -> torch.Tensor:
        """The mean negative log-likelihood of their supervised tokens."""
        return supervised_loss.loss(model, self.batch(drawn, device), None)


class Anchors(RowsAtHand):
    """Rows with the distributions that the aligned model has at their supervised tokens: computed once, if they fit."""

    def begin(self, model: Any) -> None:
        """Called once, before the first step, with the model that is to be tuned."""
        import torch

        size = 4 * model.config.get_text_config().vocab_size * sum(row.n_supervised for row in self.rows)
        self.reference = tokens.Reference(model) if size > KEPT_BYTES else None
        self.kept: list[torch.Tensor] = []
        if self.reference:
            return
        training = model.training
        model.eval()
        for begin in range(0, len(self.rows), TOGETHER):
            some = range(begin, min(begin + TOGETHER, len(self.rows)))
            batch = self.batch(some, model.device)
            with torch.no_grad():
                aligned = supervised_loss.logits(model, batch).float().log_softmax(-1)
            self.kept += torch.split(aligned, (tokens.next_labels(batch) != tokens.IGNORED).sum(1).tolist())
        model.train(training)

    def divergence(self, model: Any, drawn: Sequence[int], device: Any) -> torch.Tensor:
        """KL(aligned || tuned), in nats, as a mean over the supervised tokens of these rows."""
        import torch

        batch = self.batch(drawn, device)
        if self.reference:
            aligned = self.reference.supervised_logits(model, batch).float().log_softmax(-1)
        else:
            aligned = torch.cat([self.kept[i] for i in drawn]).to(device)
        return tokens.divergence(aligned, supervised_loss.logits(model, batch)).mean()
