"""A judge on a server that speaks OpenAI's chat completions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from holdfast.core.protocols import Ledger
from holdfast.judges.remote import Served
from holdfast.models.endpoint import Reply, Request, complete
from holdfast.models.samplers import Question, Said

NO_SCHEMA = re.compile(
    r"\b(400|422|500|501)\b.*(response.?format|json.?schema|structured.?output|guided|grammar)",
    re.IGNORECASE | re.DOTALL,
)
"""How servers say that they cannot hold a reply to a schema."""

_PLAIN: set[tuple[str, str]] = set()
"""Servers and models that were found to take no schema, by this process."""


class Server(Served):
    """A model on any OpenAI-compatible server: vLLM, SGLang, Ollama, a provider."""

    kind: Literal["server"] = "server"
    structured: Literal["auto", "on", "off"] = "auto"
    """Whether replies are held to a JSON schema; `auto`: unless the server refuses to."""

    @property
    def paid(self) -> bool:
        """Yes, also where no price is known."""
        return True

    @property
    def takes_schema(self) -> bool:
        """Whether a reply can be held to a JSON schema, as far as is known by now."""
        return self.structured == "on" or (self.structured == "auto" and self._at not in _PLAIN)

    @property
    def _at(self) -> tuple[str, str]:
        return self.base_url, self.model

    def worst(self, questions: Sequence[Question]) -> tuple[int, float]:
        """The most tokens and US dollars that the questions can take."""
        return self.most([self._request(question, self.takes_schema) for question in questions])

    def ask(self, questions: Iterable[Question], ledger: Ledger) -> Iterator[Said]:
        """What is said to each question, as soon as it is there.

        Where the server refuses the schema, the question is asked once more without it, and later ones have none.
        """
        held: dict[str, Question] = {}
        refused: list[Question] = []

        def requests() -> Iterator[Request]:
            for question in questions:
                request = self._request(question, self.takes_schema)
                if request.schema is not None:
                    held[question.id] = question
                yield request

        for reply in complete(self, requests(), ledger):
            self.check_name(reply)
            question = held.pop(reply.id, None)
            if question and self.structured == "auto" and reply.outcome == "error" and NO_SCHEMA.search(reply.detail):
                _PLAIN.add(self._at)
                refused.append(question)
            else:
                yield _said(reply)
        if refused:
            yield from map(_said, complete(self, [self._request(question, False) for question in refused], ledger))

    def _request(self, question: Question, structured: bool) -> Request:
        turns = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        return Request(
            question.id, self.model, turns, question.max_tokens, self.temperature,
            schema=question.schema if structured else None, extra=self.extra,
        )  # fmt: skip


def _said(reply: Reply) -> Said:
    return Said(reply.id, reply.outcome, reply.text, reply.model, reply.usd, reply.detail)
