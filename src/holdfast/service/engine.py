"""Chat completions of many models: one thread generates for all of them, and any number of coroutines wait.

    engine = Engine()
    async for delta in engine.chat(checkpoint, messages, Params(max_tokens=100)):
        …

Requests of one base are generated together, those of its LoRA adapters among them. They join and leave after any
token. Answers by greedy decoding are those of `models.samplers.local` for the same conversation.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from holdfast.core.errors import ModelError, RenderError
from holdfast.core.types import Checkpoint, Message
from holdfast.models import decoding, hub, loading
from holdfast.models.steps.batch import Batch, Row
from holdfast.service.asking import BadConversationError, Delta, Params, TooLongError
from holdfast.service.picking import picker
from holdfast.service.reading import Reader
from holdfast.service.served import Served, shares_base


@dataclass(eq=False)
class _Request:
    """A row, and the coroutine that waits for its tokens."""

    row: Row
    folder: Path | None
    """Of its adapter."""
    loop: asyncio.AbstractEventLoop
    stream: bool
    events: asyncio.Queue[tuple[list[int], BaseException | None]] = field(default_factory=asyncio.Queue)
    """Token ids that are new, and an error that ended the row."""
    told: int = 0
    """How many of the row's tokens were put into `events`."""


@dataclass(eq=False)
class _Lane:
    """A model in memory, and who asks it."""

    served: Served
    batch: Batch
    requests: dict[int, _Request] = field(default_factory=dict)
    """By the identity of their row."""


class Engine:
    """Generates in a thread of its own, which begins with the first request.

    Args:
        most_rows: conversations of one model that are generated at once.
        most_models: models in memory at once, adapters of one base counted as one.
        precision: of the weights; see `models.loading.load`.
    """

    def __init__(
        self, most_rows: int = 64, most_models: int = 4, precision: loading.Precision = "auto"
    ) -> None:  # fmt: skip
        self.most_rows, self.most_models = most_rows, most_models
        self.precision = precision
        self.tokens = 0
        """Generated since the engine began."""
        self.lanes: dict[Any, _Lane] = {}
        """The models in memory, the one that was asked least recently first."""
        self._loading = threading.Lock()
        self._inbox: list[tuple[_Lane, _Request]] = []
        self._busy: list[_Lane] = []
        self._threads = 1
        """Of the processor, for a model that is not small."""
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._prepare = ThreadPoolExecutor(1, "holdfast-prepare")
        """Loads models and renders conversations, so that neither the thread nor the loop waits for it."""

    @property
    def running(self) -> int:
        """Conversations that are being answered, or wait for a row."""
        return sum(len(lane.requests) for lane in list(self.lanes.values()))

    async def chat(self, model: Checkpoint, messages: Sequence[Message], params: Params) -> AsyncIterator[Delta]:
        """An answer, piece by piece; the last piece says how it ended. Stop iterating to cancel it.

        Raises:
            BadConversationError: the chat template refuses the conversation.
            TooLongError: it does not fit into the model's context.
            ModelError: the model cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        try:
            lane, row = await loop.run_in_executor(self._prepare, self._prepared, model, messages, params)
        except RenderError as error:
            raise BadConversationError(str(error)) from error
        folder = model.folder if shares_base(model) else None
        request = _Request(row, folder, loop, params.stream or bool(params.stop))
        try:
            self._send(lane, request)
            async for delta in _deltas(request, lane.served, params.stop):
                yield delta
        finally:
            row.cancelled = True

    async def forget(self, model: Checkpoint) -> None:
        """Drop what is loaded of a model that was deleted; who waits for it still gets an answer."""
        if model.folder is not None and not shares_base(model):
            with self._loading:
                self.lanes.pop(_key(model), None)

    async def close(self) -> None:
        """End; requests under way get an error."""
        await asyncio.get_running_loop().run_in_executor(None, self.end)

    def end(self) -> None:
        """As `close`, where there is no event loop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread:
            self._thread.join()
        self._prepare.shutdown()
        for lane in {*self.lanes.values(), *self._busy, *(lane for lane, _ in self._inbox)}:
            _fail(lane, ModelError("the service is being shut down. Ask again later."))
        self.lanes.clear()

    def _prepared(self, model: Checkpoint, messages: Sequence[Message], params: Params) -> tuple[_Lane, Row]:
        """The lane of a model, which is loaded if need be, and a conversation as its row."""
        lane = self._lane(model)
        loaded, context = lane.served.loaded, loading.context_of(lane.served.loaded.model)
        n_characters = sum(len(message.content) for message in messages)
        if context and n_characters > context * lane.served.longest_token:  # to read it would hold up all others
            raise TooLongError(
                f"This model can read {context} tokens, and the conversation has {n_characters:,} characters: "
                "more than fit. Shorten it."
            )
        ids = loaded.chat.question(messages)
        room = (context or len(ids) + params.max_tokens) - len(ids)
        if room <= 0:
            raise TooLongError(
                f"This model can read {len(ids) + room} tokens, and the conversation has {len(ids)}. Shorten it."
            )
        seed = params.seed if params.seed is not None else random.SystemRandom().getrandbits(32)
        pick = picker(loaded.model.generation_config, params.temperature, params.top_p, seed)
        return lane, Row(ids, min(params.max_tokens, room), pick, frozenset(decoding.end_of_turn_ids(loaded)))

    def _lane(self, model: Checkpoint) -> _Lane:
        key = _key(model)
        with self._loading:
            lane = self.lanes.pop(key, None)
            if lane is None:
                self._make_room()
                base = hub.resolve(model.base, model.revision)
                weights = replace(model, folder=None) if shares_base(model) else model
                served = Served(loading.load(weights, self.precision), base)
                lane = _Lane(served, Batch(served, self.most_rows))
            self.lanes[key] = lane  # the one that was asked last is the last one
        return lane

    def _make_room(self) -> None:
        """Forget the models that were asked least recently, as long as nobody waits for them."""
        idle = [key for key, lane in self.lanes.items() if not lane.requests]
        for key in idle[: max(0, len(self.lanes) + 1 - self.most_models)]:
            del self.lanes[key]

    def _send(self, lane: _Lane, request: _Request) -> None:
        """Hand a request to the thread."""
        with self._wake:
            if self._closed:
                raise ModelError("the service is being shut down. Ask again later.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="holdfast-engine", daemon=True)
                self._thread.start()
            lane.requests[id(request.row)] = request
            self._inbox.append((lane, request))
            self._wake.notify()

    def _work(self) -> None:
        """What the thread does: a step of every model that has something to do, again and again."""
        import torch

        self._threads = torch.get_num_threads()
        while True:
            with self._wake:
                while not (self._closed or self._inbox or self._busy):
                    self._wake.wait()
                if self._closed:
                    return
                arrived, self._inbox = self._inbox, []
            for lane, request in arrived:
                _admit(lane, request)
                if lane not in self._busy:
                    self._busy.append(lane)
            for lane in self._busy:
                self._step(lane)
            self._busy = [lane for lane in self._busy if lane.batch.busy]

    def _step(self, lane: _Lane) -> None:
        import torch

        torch.set_num_threads(1 if lane.served.is_small else self._threads)
        try:
            moved = lane.batch.step()
        except Exception as error:  # e.g. out of memory: those who wait must hear of it
            _fail(lane, error)
            return
        self.tokens += len(moved)
        told = []
        for row in moved:
            request = lane.requests[id(row)]
            if row.finished:
                del lane.requests[id(row)]
            if row.finished or request.stream:
                told.append((request, row.new[request.told :], None))
                request.told = len(row.new)
        _tell(told)


def _admit(lane: _Lane, request: _Request) -> None:
    """Put a request's adapter on its base, and its row among those that wait."""
    try:
        if request.folder:
            in_use = {each.row.adapter for each in list(lane.requests.values())}
            request.row.adapter = lane.served.attach(request.folder, in_use)
        lane.batch.waiting.append(request.row)
    except Exception as error:  # a faulty adapter ends its own request and no other
        del lane.requests[id(request.row)]
        _tell([(request, [], error)])


def _fail(lane: _Lane, error: BaseException) -> None:
    """End all requests of a lane with an error."""
    lane.batch.clear()
    requests = list(lane.requests.values())
    lane.requests.clear()
    _tell([(request, [], error) for request in requests])


def _tell(told: Sequence[tuple[_Request, list[int], BaseException | None]]) -> None:
    """Give coroutines what is new, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
    for request, ids, error in told:
        by_loop.setdefault(request.loop, []).append(partial(request.events.put_nowait, (ids, error)))
    for loop, calls in by_loop.items():
        with suppress(RuntimeError):  # the loop has ended, and nobody waits there
            loop.call_soon_threadsafe(_call_all, calls)


def _call_all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()


def _key(model: Checkpoint) -> Any:
    """What tells a model in memory from others."""
    own = None if shares_base(model) else model.folder
    return (model.base, model.revision, own, model.thinking, model.own_template)


async def _deltas(request: _Request, served: Served, stop: tuple[str, ...]) -> AsyncIterator[Delta]:
    """What a request's tokens say, as they come."""
    row = request.row
    reader = Reader(served.loaded, row.prompt, stop)
    while True:
        ids, error = await request.events.get()
        if error:
            raise error
        text = reader.read(ids)
        ended = reader.stopped or reader.ids[-1] in row.ends
        if ended or len(reader.ids) >= row.limit:
            reason: Literal["stop", "length"] = "stop" if ended else "length"
            yield Delta(text + reader.rest(), reason, len(row.prompt), len(reader.ids))
            return
        if text:
            yield Delta(text)
