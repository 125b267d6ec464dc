"""Tasks of Inspect (UK AISI): what a task asks of a model, and how its own scorer scores an answer.

A sample's solvers run with a `generate` that records the conversation and returns a known answer. No model is asked:
with a token limit of zero, Inspect refuses every call to one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import os
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import DataError
from holdfast.core.optional import need_inspect
from holdfast.core.types import Message, Role

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage
    from inspect_ai.scorer import Score
    from inspect_ai.solver import TaskState

STAND_IN = "I do not know."
"""The answer that solvers get where only the question is needed."""

WORTH = {"c": 5, "yes": 5, "true": 5, "p": 3, "i": 1, "n": 1, "no": 1, "false": 1}
"""Values that Inspect's scorers give as text → our score: correct 5, partial 3, incorrect and no answer 1."""


class UnusableError(Exception):
    """Why a task or one of its samples cannot be used."""


@dataclass(frozen=True)
class Exam:
    """A task as it was loaded."""

    name: str
    task: Task

    @cached_property
    def samples(self) -> dict[str | int, Sample]:
        """Samples by id; those without one are numbered from 1, as Inspect does.

        Raises:
            DataError: two samples have one id.
        """
        named = [
            (place if sample.id is None else sample.id, sample) for place, sample in enumerate(self.task.dataset, 1)
        ]
        samples = dict(named)
        if len(samples) < len(named):
            raise DataError(f"the Inspect task {self.name!r} gives {len(named) - len(samples)} samples an id twice.")
        return samples

    def conversation(self, at: str | int) -> tuple[Message, ...]:
        """What the task asks of a model for one sample.

        Raises:
            UnusableError: with the reason why that is not one conversation of text that ends with the user's turn.
        """
        return asyncio.run(self._solve(at, STAND_IN))[1]

    def score(self, at: str | int, asked: tuple[Message, ...], answer: str) -> Score | None:
        """The score that the task's (first) scorer gives an answer.

        Raises:
            UnusableError: the task no longer asks what was asked, or asks again once it has the answer.
        """
        return asyncio.run(self._score(at, asked, answer))

    async def _score(self, at: str | int, asked: tuple[Message, ...], answer: str) -> Score | None:
        from inspect_ai.scorer import Target
        from inspect_ai.util import token_limit

        if not self.task.scorer:
            raise UnusableError("the task has no scorer")
        state, now = await self._solve(at, answer)
        if now != asked:
            raise UnusableError("the task now asks something else than was asked; does it shuffle without a seed?")
        with token_limit(0):
            return await self.task.scorer[0](state, Target(self.samples[at].target))

    async def _solve(self, at: str | int, answer: str) -> tuple[TaskState, tuple[Message, ...]]:
        """The state after the solvers, and the one conversation that they asked with."""
        from inspect_ai.model import ChatMessageAssistant, ModelOutput
        from inspect_ai.util import token_limit

        asked: list[tuple[Message, ...]] = []

        async def generate(state: TaskState, *_: Any, **__: Any) -> TaskState:
            if asked:
                raise UnusableError("it asks the model more than once")
            if state.tools:
                raise UnusableError("it gives the model tools")
            asked.append(_plain(state.messages))
            state.messages.append(ChatMessageAssistant(content=answer, source="generate"))
            state.output = ModelOutput.from_content("holdfast/recorded", answer)
            return state

        state = self._state(at)
        try:
            with token_limit(0):
                for solver in [*_listed(self.task.setup), self.task.solver]:
                    state = await solver(state, generate)
        except UnusableError:
            raise
        except Exception as error:
            raise UnusableError(f"its solver cannot run here ({type(error).__name__}: {error})") from error
        if not asked:
            raise UnusableError("it does not ask the model")
        return state, asked[0]

    def _state(self, at: str | int) -> TaskState:
        from inspect_ai.model import ChatMessageUser, ModelName
        from inspect_ai.scorer import Target
        from inspect_ai.solver import TaskState

        sample = self.samples[at]
        if sample.sandbox or self.task.sandbox or sample.files or sample.setup:
            raise UnusableError("it needs a sandbox")
        text = sample.input
        messages: list[ChatMessage] = [ChatMessageUser(content=text)] if isinstance(text, str) else deepcopy(text)
        return TaskState(
            ModelName("holdfast/recorded"), at, 1, text, messages,
            target=Target(sample.target), choices=sample.choices, metadata=deepcopy(sample.metadata or {}),
        )  # fmt: skip


def _listed(solvers: Any) -> list[Any]:
    return [] if solvers is None else list(solvers) if isinstance(solvers, list | tuple) else [solvers]


def _plain(messages: list[ChatMessage]) -> tuple[Message, ...]:
    """A conversation as ours: system turns, then user and assistant by turns, the user's last.

    Raises:
        UnusableError: it is another one.
    """
    turns: list[Message] = []
    roles: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
    for message in messages:
        parts = message.content if isinstance(message.content, list) else []
        if other := [part.type for part in parts if part.type != "text"]:
            raise UnusableError(f"it asks with content that is not text ({other[0]})")
        if message.role not in roles:
            raise UnusableError(f"it has a turn of the role {message.role!r}")
        turns.append(Message(roles[message.role], message.text))
    spoken = [turn.role for turn in turns]
    start = next((place for place, role in enumerate(spoken) if role != "system"), len(spoken))
    rest = spoken[start:]
    if rest != ["user", "assistant"] * (len(rest) // 2) + ["user"]:
        raise UnusableError(
            f"its turns are {', '.join(spoken) or 'none'}, not user and assistant by turns, the user's last"
        )
    return tuple(turns)


_LOADED: dict[tuple[str, str], Exam] = {}


def load(name: str, args: Mapping[str, Any], fresh: bool = False) -> Exam:
    """The task of a name: one of a package's (`package/task`), or `file.py@task`.

    It is loaded once a process; `fresh` loads it once more.

    Raises:
        HoldfastError: Inspect is not installed.
        DataError: there is no such task, or it cannot be made with these arguments.
    """
    at = (name, repr(sorted(args.items())))
    if fresh or at not in _LOADED:
        need_inspect()
        _LOADED[at] = Exam(name.rpartition("@")[2], _make(name, args))
    return _LOADED[at]


def _make(name: str, args: Mapping[str, Any]) -> Task:
    from inspect_ai import Task
    from inspect_ai.util import registry_create

    file, at, called = name.rpartition("@")
    try:
        with _beside(Path(file)) if at else contextlib.nullcontext():
            task: Any = _function(Path(file), called) if at else registry_create("task", name, **args)
            if callable(task):  # Inspect gives back the function itself where it does not say that it returns a Task
                task = task(**args)
    except LookupError as error:
        raise DataError(
            f"there is no Inspect task {name!r} ({error}). Name one of an installed package, such as "
            "`inspect_evals/gsm8k`, or one of a file, such as `tasks.py@mine`."
        ) from None
    except Exception as error:
        raise DataError(f"the Inspect task {name!r} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(task, Task):
        raise DataError(f"{name!r} is no Inspect task but a {type(task).__name__}.")
    return task


@contextlib.contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Work in a file's folder, and import from there: tasks read their data and helpers beside them."""
    before, folder = Path.cwd(), str(file.parent.resolve())
    sys.path.insert(0, folder)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(folder)


def _function(file: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"holdfast_inspect_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise LookupError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise LookupError(f"{file} has no {name!r}")
    return getattr(module, name)


def scaled(value: Any) -> int | None:
    """Our score for a value of Inspect's, or None where it has no place between 0 and 1: no score is made up.

    5 for correct (C, yes, true, 1), 1 for incorrect or no answer (I, N, no, false, 0), 3 for partial (P), and in
    between the nearest of 2, 3 and 4.
    """
    if isinstance(value, str):
        if value.lower() in WORTH:
            return WORTH[value.lower()]
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        return None
    return 1 if value == 0 else 5 if value == 1 else min(4, max(2, round(1 + 4 * value)))
