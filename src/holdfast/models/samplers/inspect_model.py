"""A judge that Inspect (UK AISI) reaches: any of its model providers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from holdfast.core.config import Spec
from holdfast.core.errors import HoldfastError, ModelError
from holdfast.core.optional import need_inspect
from holdfast.core.protocols import Ledger
from holdfast.models.chat import take_apart
from holdfast.models.endpoint import Price
from holdfast.models.endpoint.messages import Outcome
from holdfast.models.samplers import Question, Said

if TYPE_CHECKING:
    from inspect_ai.model import Model, ModelOutput

STOPPED: dict[str, Outcome] = {
    "stop": "ok", "tool_calls": "ok", "max_tokens": "truncated", "model_length": "truncated",
    "content_filter": "filtered",
}  # fmt: skip
"""Why Inspect says that a reply ended → its outcome; any other is an error."""

MAX_RETRIES = 6
"""How often Inspect tries again; left to itself it would never stop."""


class InspectModel(Spec):
    """Any model that Inspect reaches, by Inspect's name for it, e.g. `anthropic/…` or `google/…`."""

    kind: Literal["inspect"] = "inspect"
    model: str = Field(pattern=".+/.+")
    """`provider/model`, as Inspect's `--model` takes it."""
    args: dict[str, Any] = Field(default_factory=dict)
    """What Inspect's `-M` takes."""
    temperature: NonNegativeFloat | None = 0.0
    """0 is greedy; None sends none, for models that take none."""
    concurrency: PositiveInt = Field(16, exclude=True)
    """Questions under way at once."""
    price: Price = Field(Price(), exclude=True)
    """0 where it is not known: costs are not known then either, and no cap can be kept."""

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
        read, written = sum(map(_tokens, questions)), sum(question.max_tokens for question in questions)
        return read + written, self.price.usd(read, written)

    def faults(self) -> list[str]:
        """Inspect is not installed."""
        try:
            need_inspect()
        except HoldfastError as error:
            return [str(error)]
        return []

    def ask(self, questions: Iterable[Question], ledger: Ledger) -> Iterator[Said]:
        """What is said to each question, as soon as it is there.

        Raises:
            ModelError: Inspect has no such model, or lacks a key or a package for it.
            BudgetError: the cap is reached; what was under way is given out first.
        """
        waiting, stop = iter(questions), None
        with asyncio.Runner() as runner:
            model, loop = self._model(), runner.get_loop()
            under_way: set[asyncio.Task[Said]] = set()
            while True:
                room = 0 if stop else self.concurrency - len(under_way)
                under_way |= {loop.create_task(self._one(model, one, ledger)) for one in islice(waiting, room)}
                if not under_way:
                    break
                finished, under_way = runner.run(_first(under_way))
                for task in finished:
                    error = task.exception()
                    stop = stop or error
                    if error is None:
                        yield task.result()
        if stop:
            raise stop

    def _model(self) -> Model:
        try:
            need_inspect()
            from inspect_ai.model import get_model

            return get_model(self.model, memoize=False, **self.args)
        except HoldfastError as error:
            raise ModelError(str(error)) from None
        except Exception as error:
            raise ModelError(f"Inspect cannot reach {self.model!r}: {type(error).__name__}: {error}") from error

    async def _one(self, model: Model, question: Question, ledger: Ledger) -> Said:
        from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig

        kinds: dict[str, Any] = {
            "system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant,
        }  # fmt: skip
        turns = [kinds[turn.role](content=turn.content) for turn in question.messages]
        config = GenerateConfig(max_tokens=question.max_tokens, temperature=self.temperature, max_retries=MAX_RETRIES)
        worst = self.price.usd(_tokens(question), question.max_tokens)
        ticket = ledger.reserve(worst, f"a reply of {self.model}")
        usd = worst  # until it is known: of what fails or is stopped, the provider may have done the work
        try:
            output = await model.generate(turns, config=config)
            if used := output.usage:
                usd = self.price.usd(used.input_tokens, used.output_tokens)
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"[:300]
            return Said(question.id, "error", model=self.model, usd=usd, detail=detail)
        finally:
            ledger.settle(ticket, usd)
        return _said(question, output, usd)


def _tokens(question: Question) -> int:
    """More tokens than a question is likely to have."""
    return sum(len(turn.content.encode(errors="replace")) for turn in question.messages) // 2 + 64


async def _first(tasks: set[asyncio.Task[Said]]) -> tuple[set[asyncio.Task[Said]], set[asyncio.Task[Said]]]:
    return await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _said(question: Question, output: ModelOutput, usd: float) -> Said:
    if not output.choices:
        why = output.error or "the reply has no choices"
        return Said(question.id, "error", model=output.model, usd=usd, detail=why)
    text = take_apart(output.completion).text
    outcome = STOPPED.get(output.stop_reason, "error")
    if outcome == "ok" and not text:
        outcome = "empty"
    detail = "" if outcome == "ok" else output.error or f"the reply ended with {output.stop_reason!r}"
    return Said(question.id, outcome, text, output.model, usd, detail)
