"""Asks a model on a server that speaks OpenAI's chat completions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Generator as Stream
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat

from holdfast.core.errors import ModelError
from holdfast.core.protocols import Budget
from holdfast.core.types import content_hash
from holdfast.models.endpoint import Endpoint, Request, complete, is_same_model
from holdfast.models.samplers.base import Question, Reply

BAD_REQUEST = re.compile(r"\b(400|422|500|501)\b")
SCHEMA = re.compile(r"response.?format|json.?schema|structured.?output|guided|grammar", re.IGNORECASE)
"""How servers say that they cannot hold a reply to a schema: a status, and behind it what they cannot do."""

_WITHOUT_SCHEMA: set[tuple[str, str]] = set()
"""Servers and models that refused a schema in this process."""


class ServedModel(Endpoint):
    """A server, and how its model is sampled."""

    model: str | None = None
    """The server's name for the model."""
    temperature: NonNegativeFloat | None = 0.0
    """0 is greedy; null sends none, for models that take none."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus sampling; used only when the temperature is above 0."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, e.g. `chat_template_kwargs: {enable_thinking: false}`."""

    @property
    def random(self) -> bool:
        """Whether replies are drawn at random."""
        return self.temperature is None or self.temperature > 0

    def faults(self) -> list[str]:
        """As for any server; or a server that lacks the model."""
        problems = super().faults()
        if not problems and self.model:
            try:
                self.require(self.model)
            except ModelError as error:
                return [str(error)]
        return problems


class Server(ServedModel):
    """A model on any OpenAI-compatible server: vLLM, SGLang, Ollama, a provider."""

    kind: Literal["server"] = "server"
    model: str
    """The server's name for the model."""
    structured: Literal["auto", "on", "off"] = "auto"
    """Whether replies are held to a JSON schema; `auto`: unless the server refuses to."""

    @property
    def paid(self) -> bool:
        """Yes, also where no price is known."""
        return True

    @property
    def takes_schema(self) -> bool:
        """Whether a reply can be held to a JSON schema, as far as is known so far."""
        return self.structured == "on" or (self.structured == "auto" and self._address not in _WITHOUT_SCHEMA)

    @property
    def _address(self) -> tuple[str, str]:
        return self.base_url, self.model

    def worst(self, questions: Sequence[Question]) -> tuple[int, float]:
        """The most tokens and US dollars that the questions can take."""
        return self.most([self._request(question, None, self.takes_schema) for question in questions])

    def ask(
        self, questions: Iterable[Question], budget: Budget, seed: int | None = None, skip: Collection[str] = ()
    ) -> Stream[Reply, None, None]:
        """A reply to each question, as soon as it is there.

        Where the server refuses the schema, the question is asked once more without it, and later ones have none.

        Raises:
            ModelError: as `complete`; or another model answers in place of the one that was asked.
            BudgetError: the budget's cap is reached.
        """
        with_schema: dict[str, Question] = {}
        refused: list[Question] = []

        def requests() -> Iterator[Request]:
            for question in questions:
                if question.id in skip:
                    continue
                request = self._request(question, seed, self.takes_schema)
                if request.schema is not None:
                    with_schema[question.id] = question
                yield request

        for reply in complete(self, requests(), budget):
            question = with_schema.pop(reply.id, None)
            if question and self._refuses_schema(reply):
                _WITHOUT_SCHEMA.add(self._address)
                refused.append(question)
            else:
                yield self._of_the_right_model(reply)
        if refused:
            for reply in complete(self, [self._request(question, seed, False) for question in refused], budget):
                yield self._of_the_right_model(reply)

    def _request(self, question: Question, seed: int | None, structured: bool) -> Request:
        messages = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        drawn_by = None
        if self.random and seed is not None:
            drawn_by = int(content_hash([seed, question.id])[:7], 16)
        return Request(
            question.id, self.model, messages, question.max_tokens, self.temperature,
            self.top_p if self.random else 1.0, drawn_by, question.schema if structured else None, question.logprobs,
            self.extra,
        )  # fmt: skip

    def _refuses_schema(self, reply: Reply) -> bool:
        return self.structured == "auto" and reply.outcome == "error" and refuses_schema(reply.detail)

    def _of_the_right_model(self, reply: Reply) -> Reply:
        """The reply, after making sure that the model that was asked is the one that replied.

        Raises:
            ModelError: another one did.
        """
        if reply.model and not is_same_model(self.model, reply.model):
            raise ModelError(
                f"{self.model!r} was asked, but {reply.model!r} answered. Does the server have a model of that name, "
                "or does it give every name to the one model that it has?"
            )
        return reply


def refuses_schema(detail: str) -> bool:
    """Whether a server's message says that it cannot hold a reply to a schema."""
    status = BAD_REQUEST.search(detail)
    return status is not None and SCHEMA.search(detail, status.end()) is not None
