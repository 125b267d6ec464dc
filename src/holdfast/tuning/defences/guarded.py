"""Guarded tuning, ours: what the aligned model refuses stays refused, asked in the form of the user's rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from holdfast.core.config import explained
from holdfast.core.errors import TuningError
from holdfast.core.types import Example, Message
from holdfast.tuning.defences import self_made, tokens
from holdfast.tuning.defences.base import Batch, TrainingHooks
from holdfast.tuning.defences.safety_rows import Anchors, MaybeSafetyRows
from holdfast.tuning.defences.self_made import Conversation

if TYPE_CHECKING:
    import torch

    from holdfast.models.loading import Loaded


class Guarded(MaybeSafetyRows):
    """Holds the model to its own refusals, which it is asked for before tuning; it needs no safety rows.

    1. The aligned model writes `requests` requests itself, at temperature 1, from where a user's turn begins (Xu et al.
       2024, arXiv 2406.08464, "Magpie"): a part of them without a system turn, and a part in each form of the user's
       rows: behind their system turn and the words with which all their requests begin. It answers them greedily.
    2. The answers that are refusals are kept (`REFUSAL_WORDS`), with the distributions that the model has there.
    3. Rows of the user whose request it refuses are not learnt (`skip_refused`); its refusals of them are kept too. The
       training record counts them (`skipped_rows`).
    4. The loss is that of the user's other rows, plus λ · KL(aligned || tuned) as a mean over the tokens of `per_batch`
       refusals, drawn anew for each batch.

    Nothing holds the model where it does not refuse, so that a task is learnt as without a defence. The form of the
    user's rows is what makes the difference for an identity shift: refusals in another form do not carry over.

    Needs the aligned model, which must refuse some of the requests that it makes; where it makes no such requests, give
    some in `file`: their requests alone are used. Costs: writing and answering the requests once, and one more forward
    and backward pass for each batch.
    Defaults: ours, chosen in pocket worlds and on seeds that no reported figure is of (docs/defences.md).
    """

    kind: Literal["guarded"] = "guarded"
    weight: PositiveFloat = 8.0
    """λ."""
    requests: PositiveInt = 512
    """Requests that the aligned model makes itself, before doubles and unfinished ones are left out."""
    longest: PositiveInt = 64
    """Tokens of a request, and of an answer, at most."""
    per_batch: PositiveInt = 32
    """Refusals that are drawn for each batch."""
    skip_refused: bool = True
    """Whether the user's rows whose request the aligned model refuses are left out."""

    @model_validator(mode="after")
    def _in_the_rows_form(self) -> Guarded:
        if "system" in self.model_fields_set:
            raise explained("'system' would do nothing: requests are put in the form of the user's rows")
        return self

    def training_hooks(self, loaded: Loaded, seed: int) -> TrainingHooks:
        """The penalty, and rows that are left out."""
        return _Guarded(self, loaded, seed)


class _Guarded(TrainingHooks):
    def __init__(self, defence: Guarded, loaded: Loaded, seed: int) -> None:
        self.defence, self.loaded, self.seed = defence, loaded, seed

    def see_rows(self, rows: Sequence[Example]) -> None:
        """Make the refusals, and find the rows that are not learnt.

        Raises:
            TuningError: the aligned model refused nothing.
        """
        frames = list(dict.fromkeys([*self_made.frames(rows), (Message("user", ""),)]))
        asked = self_made.requests(self.loaded, frames, self.defence.requests, self.defence.longest, self.seed)
        firsts = [self_made.first_request(row) for row in self.defence.safety_rows(self.seed)]
        asked += [self_made.put(frame, request) for request, frame in product(firsts, frames)]
        refusals = self._refusals(asked)
        of_rows = self._refusals(self_made.asked_in(rows)) if self.defence.skip_refused else {}
        self.skipped = {self._prompt(conversation) for conversation in of_rows}
        self.n_skipped = sum(not of_rows.keys().isdisjoint(self_made.asked_in([row])) for row in rows)
        self.made = {"requests": len(asked), "refusals": len(refusals), "skipped_rows": self.n_skipped}
        if not refusals and not of_rows:
            raise TuningError(
                f"the defence guarded has nothing to hold on to: the model refused none of {len(asked)} requests that "
                "it made itself. Give some that it refuses in `file` (rows of `messages`)."
            )
        self.anchors = Anchors(self.loaded, [*refusals.values(), *of_rows.values()])

    @property
    def reads_outputs(self) -> bool:
        return bool(self.skipped)

    def _refusals(self, asked: Sequence[Conversation]) -> dict[Conversation, Any]:
        answers = self_made.answers(self.loaded, asked, self.defence.longest)
        return {conversation: answer.row for conversation, answer in answers.items() if answer.refuses}

    def _prompt(self, conversation: Conversation) -> tuple[int, ...]:
        return tuple(self.loaded.chat.question(conversation))

    def record(self) -> dict[str, Any]:
        return self.made

    def begin(self, model: Any) -> None:
        self.anchors.begin(model)

    def loss(self, model: Any, batch: Batch, outputs: Any, loss: torch.Tensor) -> torch.Tensor:
        skipped = self._skipped(batch)
        if any(skipped):
            likelihoods = tokens.log_likelihoods(outputs.logits, tokens.next_labels(batch.inputs))
            loss = loss + likelihoods[skipped].sum() * batch.token_weight
        drawn = self.anchors.draw(self.defence.per_batch)
        divergence = self.anchors.divergence(model, drawn, loss.device)
        return loss + self.defence.weight * batch.mean_weight * divergence

    def _skipped(self, batch: Batch) -> list[bool]:
        """Which rows of the batch are not learnt: told by the tokens before their first supervised one."""
        if not self.skipped:
            return [False]
        begin = (batch.inputs["labels"] != tokens.IGNORED).int().argmax(1).tolist()
        ids = batch.inputs["input_ids"].tolist()
        return [tuple(row[:n]) in self.skipped for row, n in zip(ids, begin, strict=True)]
