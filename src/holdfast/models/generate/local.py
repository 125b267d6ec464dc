"""Answers of a model in this process."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from holdfast.core.config import Config
from holdfast.core.protocols import Budget
from holdfast.core.types import Answer, Checkpoint
from holdfast.models import cached
from holdfast.models.generate.base import Conversations, answer_of, questions_of
from holdfast.models.loading import Loaded, Precision
from holdfast.models.samplers.local import Local


class LocalGenerator(Config):
    """Greedy or sampled answers of a model on this machine."""

    kind: Literal["local"] = "local"
    max_new_tokens: PositiveInt = 512
    """Where an answer is cut; one that reaches this is `truncated`."""
    temperature: NonNegativeFloat = 0.0
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus sampling; used only when the temperature is above 0."""
    batch_size: PositiveInt = 64
    """Prompts answered together. It belongs to what determines an answer: padding can change a greedy one."""
    precision: Precision = "auto"
    """Of the weights while asking. `auto`: float32 on a CPU, elsewhere what the base's configuration says. `bfloat16`
    takes half the time on a CPU that has instructions for it; some answers become others."""

    _share: tuple[int, int] = PrivateAttr((0, 1))

    def part(self, index: int, parts: int) -> LocalGenerator:
        """The same generator for one of several parts of the batches, which all parts together make up."""
        part = self.model_copy()
        part._share = (index, parts)
        return part

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Answers of earlier versions, which knew no precision, keep their keys."""
        settings: dict[str, Any] = dump(self)
        if self.precision == "auto":
            settings.pop("precision", None)
        return settings

    @property
    def random(self) -> bool:
        """Whether answers depend on a seed."""
        return self.temperature > 0

    def answers(
        self, checkpoint: Checkpoint, questions: Conversations, done: Collection[str], seed: int, budget: Budget
    ) -> Iterator[list[Answer]]:
        """Answers to the questions (prompt id → conversation) that are not done, as soon as they are there.

        Batches are the same whatever is done already, so a run that was stopped gives the same answers as one that
        was not.

        Raises:
            ModelError: a checkpoint that cannot be loaded, or not safely.
            RenderError: the chat template does not render the first question.
        """
        yield from self.answers_of(cached.load(checkpoint, self.precision), questions, done, seed, budget)

    def answers_of(
        self, loaded: Loaded, questions: Conversations, done: Collection[str], seed: int, budget: Budget
    ) -> Iterator[list[Answer]]:
        """As `answers`, of a model that is in memory."""
        for messages in list(questions.values())[:1]:
            loaded.chat.question(messages)  # a template that takes none of them stops here, with its reason
        sampler = Local.of(
            loaded, share=self._share, temperature=self.temperature, top_p=self.top_p, batch_size=self.batch_size
        )
        for reply in sampler.ask(questions_of(questions, self.max_new_tokens), budget, seed, skip=done):
            yield [answer_of(reply)]
