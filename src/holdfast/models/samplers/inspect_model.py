"""Asks a model through Inspect (UK AISI): any of its model providers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Generator as Stream
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from holdfast.core.config import Config
from holdfast.core.errors import HoldfastError, ModelError
from holdfast.core.optional import need_inspect
from holdfast.core.protocols import Budget
from holdfast.core.types import LONGEST_REASON, cut
from holdfast.models.endpoint import Price
from holdfast.models.samplers.base import Outcome, Question, Reply, without_key
from holdfast.models.thinking import split_thinking

if TYPE_CHECKING:
    from inspect_ai.model import Model, ModelOutput

OUTCOMES: dict[str, Outcome] = {
    "stop": "ok", "tool_calls": "ok", "max_tokens": "truncated", "model_length": "truncated",
    "content_filter": "filtered",
}  # fmt: skip
"""Inspect's reason for the end of a reply → its outcome; any other reason is an error."""

MAX_RETRIES = 6
"""How often Inspect tries again. Without a limit it would never stop."""


class InspectModel(Config):
    """Any model that Inspect reaches, by Inspect's name for it, e.g. `anthropic/…` or `google/…`."""

    kind: Literal["inspect"] = "inspect"
    model: str = Field(pattern=".+/.+")
    """`provider/model`, as Inspect's `--model` takes it."""
    args: dict[str, Any] = Field(default_factory=dict)
    """What Inspect's `-M` takes."""
    temperature: NonNegativeFloat | None = 0.0
    """0 is greedy; null sends none, for models that take none."""
    concurrency: PositiveInt = Field(16, exclude=True)
    """Questions under way at the same time."""
    price: Price = Field(Price(), exclude=True)
    """Leave it out where you do not know it. Costs are then not known, and no cap can be kept."""

    @property
    def takes_schema(self) -> bool:
        """No: not all of Inspect's providers can."""
        return False

    @property
    def paid(self) -> bool:
        """Yes, also where no price is known."""
        return True

    def worst(self, questions: Sequence[Question]) -> tuple[int, float]:
        """The most tokens and US dollars that the questions can take."""
        prompt_tokens = sum(map(_most_tokens, questions))
        tokens = sum(question.max_tokens for question in questions)
        return prompt_tokens + tokens, self.price.usd(prompt_tokens, tokens)

    def faults(self) -> list[str]:
        """Inspect is not installed."""
        try:
            need_inspect()
        except HoldfastError as error:
            return [str(error)]
        return []

    def ask(
        self, questions: Iterable[Question], budget: Budget, seed: int | None = None, skip: Collection[str] = ()
    ) -> Stream[Reply, None, None]:
        """A reply to each question, as soon as it is there. No seed is sent.

        Raises:
            ModelError: Inspect has no such model, or lacks a key or a package for it.
            BudgetError: the cap is reached; the replies under way are given out first.
        """
        waiting = (question for question in questions if question.id not in skip)
        first_error: BaseException | None = None
        with asyncio.Runner() as runner:
            model, loop = self._model(), runner.get_loop()
            under_way: set[asyncio.Task[Reply]] = set()
            while True:
                free = 0 if first_error else self.concurrency - len(under_way)
                under_way |= {loop.create_task(self._ask_one(model, each, budget)) for each in islice(waiting, free)}
                if not under_way:
                    break
                finished, under_way = runner.run(_first_finished(under_way))
                for task in finished:
                    error = task.exception()
                    first_error = first_error or error
                    if error is None:
                        yield task.result()
        if first_error:
            raise first_error

    def _model(self) -> Model:
        try:
            need_inspect()
            from inspect_ai.model import get_model

            return get_model(self.model, memoize=False, **self.args)
        except HoldfastError as error:
            raise ModelError(str(error)) from None
        except Exception as error:
            raise ModelError(f"Inspect cannot reach {self.model!r}: {type(error).__name__}: {error}") from error

    async def _ask_one(self, model: Model, question: Question, budget: Budget) -> Reply:
        from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig

        kinds: dict[str, Any] = {
            "system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant,
        }  # fmt: skip
        messages = [kinds[turn.role](content=turn.content) for turn in question.messages]
        config = GenerateConfig(max_tokens=question.max_tokens, temperature=self.temperature, max_retries=MAX_RETRIES)
        worst = self.price.usd(_most_tokens(question), question.max_tokens)
        ticket = budget.reserve(worst, f"a reply of {self.model}")
        usd = worst  # until it is known: the provider may have done the work of a request that failed
        try:
            output = await model.generate(messages, config=config)
            if usage := output.usage:
                usd = self.price.usd(usage.input_tokens, usage.output_tokens)
        except Exception as error:
            detail = without_key(f"{type(error).__name__}: {error}", _key(model))[:300]
            return Reply(question.id, "error", model=self.model, usd=usd, detail=detail)
        finally:
            budget.settle(ticket, usd)
        return _reply(question, output, usd).without(_key(model))


def _key(model: Model) -> str:
    """The key with which Inspect asks a model; "" if it has none."""
    return str(model.api.api_key or "")


def _most_tokens(question: Question) -> int:
    """More tokens than a question is likely to have."""
    return sum(len(turn.content.encode(errors="replace")) for turn in question.messages) // 2 + 64


async def _first_finished(
    tasks: set[asyncio.Task[Reply]],
) -> tuple[set[asyncio.Task[Reply]], set[asyncio.Task[Reply]]]:  # fmt: skip
    return await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _reply(question: Question, output: ModelOutput, usd: float) -> Reply:
    """The reply that an output of Inspect is."""
    if not output.choices:
        why = cut(output.error or "the reply has no choices", LONGEST_REASON)
        return Reply(question.id, "error", model=output.model, usd=usd, detail=why)
    completion = split_thinking(output.completion)
    outcome = OUTCOMES.get(output.stop_reason, "error")
    if outcome == "ok" and not completion.text:
        outcome = "empty"
    why = output.error or f"the reply ended with {output.stop_reason!r}"
    detail = "" if outcome == "ok" else cut(why, LONGEST_REASON)
    usage = output.usage
    return Reply(
        question.id, outcome, completion.text, completion.thinking,
        prompt_tokens=usage.input_tokens if usage else 0, tokens=usage.output_tokens if usage else 0,
        model=output.model, detail=detail, usd=usd, counted=usage is not None,
    )  # fmt: skip
