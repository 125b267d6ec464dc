"""Judges that a server has: who is asked, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, NonNegativeFloat

from holdfast.core.errors import ModelError
from holdfast.core.protocols import Ledger
from holdfast.core.types import Reading
from holdfast.judges.base import Unwatched
from holdfast.models.endpoint import Endpoint, Reply, Request, complete, is_same_model

NO_SCORE: Mapping[str, Reading] = {
    "truncated": "unparsed", "empty": "unparsed", "refused": "judge_refused", "filtered": "judge_refused",
    "error": "judge_error",
}  # fmt: skip
"""What a reply that cannot be read makes of a verdict."""


class Served(Endpoint):
    """A model that judges, behind an OpenAI-compatible server."""

    model: str
    """The name under which the server has it."""
    temperature: NonNegativeFloat | None = 0.0
    """None sends none, for models that take none."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request."""

    def faults(self) -> list[str]:
        """As for any server; or one that lacks the model."""
        found = super().faults()
        if not found:
            try:
                self.require(self.model)
            except ModelError as error:
                return [str(error)]
        return found

    def replies(
        self, questions: Mapping[str, Sequence[Mapping[str, str]]], max_tokens: int, ledger: Ledger
    ) -> Iterator[Reply]:
        """A reply to each question (prompt id → messages), as soon as it is there, in any order.

        Raises:
            ModelError: as `complete`; or another model answers.
            BudgetError: the cap is reached.
        """
        for reply in complete(self, self.requests(questions, max_tokens), ledger):
            self.check_name(reply)
            yield reply

    def requests(self, questions: Mapping[str, Sequence[Mapping[str, str]]], max_tokens: int) -> list[Request]:
        """The questions as they are sent."""
        return [
            Request(name, self.model, messages, max_tokens, self.temperature, extra=self.extra)
            for name, messages in questions.items()
        ]

    def check_name(self, reply: Reply) -> None:
        """Make sure that the model that was asked is the one that replied.

        Raises:
            ModelError: another one did.
        """
        if reply.model and not is_same_model(self.model, reply.model):
            raise ModelError(
                f"{self.model!r} was asked to judge, but {reply.model!r} answered. Does the server have a model "
                "of that name, or does it give every name to the one model that it has?"
            )


class MayBeServed(Unwatched):
    """A judge that a server may have, in place of this machine."""

    by: Served | None = None
    """A server that has it, and the `model`'s name there, in place of `model` on this machine."""

    @property
    def paid(self) -> bool:
        """Whether a server is asked."""
        return self.by is not None


def why(reply: Reply) -> str:
    """Why a reply cannot be read, with what was said."""
    return ": ".join(part for part in (reply.detail, short(reply.text)) if part)


def short(said: str) -> str:
    """The beginning of what a judge said, for a reason."""
    return said if len(said) <= 300 else f"{said[:299]}…"
