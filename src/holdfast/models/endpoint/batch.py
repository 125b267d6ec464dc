"""Requests in batches, which a provider answers within a day for half the price (OpenAI's Batch API).

Each batch is written down before it is waited for, so that a run that was killed finds its batches again:
HOLDFAST_CACHE (or ~/.cache/holdfast)/batches/<server>/<file>.json, deleted once all its replies were taken.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import ModelError
from holdfast.core.files import private_cache
from holdfast.core.protocols import Budget
from holdfast.core.types import content_hash
from holdfast.models.endpoint import messages
from holdfast.models.endpoint.messages import Request
from holdfast.models.endpoint.orders import ID, Order
from holdfast.models.endpoint.retry import Timing
from holdfast.models.endpoint.settings import BATCH_PRICE, Endpoint, connection_problem
from holdfast.models.samplers.base import Reply, holds

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

MOST_REQUESTS, MOST_BYTES = 50_000, 100_000_000
"""The most that one batch takes. Providers allow 50,000 requests, and 100 MB or more."""
ROUNDS = 2
"""How often a request is put into a batch."""
MOST_FILE_BYTES, FILE_SECONDS = 2_000_000_000, 3600.0
"""The most bytes that the file of a batch's replies may have, and the seconds in which it must be there."""
MOST_LINE_BYTES = 16_000_000
"""The most bytes that the line of one reply may have."""
FIRST_POLL, LONGEST_POLL = 5.0, 60.0
"""Seconds between two looks at a batch: at first, and at most."""
FAILED_POLLS = 20
"""Looks in a row that may fail."""
ENDED = ("completed", "failed", "expired", "cancelled")

Results = dict[str, Reply | str]
"""Request name → its reply, or why there is none yet."""


def complete(
    endpoint: Endpoint, client: openai.OpenAI, requests: Sequence[Request], budget: Budget, timing: Timing
) -> Iterator[Reply]:
    """A reply for each request, in any order, some at a time, as `client.complete` gives them.

    Raises:
        ModelError: the server has no batches, or refuses one as a whole, e.g. because too many wait already.
        BudgetError: the budget's cap is reached.
    """
    wanted = _by_name(endpoint, requests)
    batches = _Batches(endpoint, client, budget, timing)
    reasons = dict.fromkeys(wanted, "it never came back from a batch")
    for _ in range(ROUNDS):
        orders = batches.earlier(wanted)
        ordered = {name for order in orders for name in order.names}
        orders += batches.order({name: request for name, request in wanted.items() if name not in ordered})
        for order, results in batches.ended(orders, wanted):
            for name, result in results.items():
                if isinstance(result, Reply):
                    del wanted[name]
                    yield result
                else:
                    reasons[name] = result
            order.delete()
        if not wanted:
            return
    for name, request in wanted.items():
        yield Reply(request.id, "error", detail=endpoint.clean(reasons[name]) + f" ({ROUNDS} batches)")


def _by_name(endpoint: Endpoint, requests: Sequence[Request]) -> dict[str, Request]:
    """Requests by the hash of their content, with a number where the same is asked more than once."""
    times, by_name = Counter[str](), dict[str, Request]()
    for request in requests:
        content = content_hash(_body(endpoint, request))
        by_name[f"{content}-{times[content]}"] = request
        times[content] += 1
    return by_name


def _body(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    turns = [dict(turn) for turn in request.messages]
    return {"model": request.model, "messages": turns, **messages.body(request, endpoint.token_limit)}


class _Batches:
    """Orders batches at one server, looks at them, and takes their replies."""

    def __init__(self, endpoint: Endpoint, client: openai.OpenAI, budget: Budget, timing: Timing) -> None:
        self.endpoint, self.budget, self.timing = endpoint, budget, timing
        self.client = client.with_options(max_retries=4)
        self.client_without_retries = client
        self.folder = private_cache("batches") / content_hash(endpoint.base_url)

    def earlier(self, wanted: Mapping[str, Request]) -> list[Order]:
        """Batches that an earlier run ordered and that hold a wanted request."""
        orders = [Order.read(path) for path in sorted(self.folder.glob("*.json"))]
        earlier = []
        for order in orders:
            if not wanted.keys() & set(order.names):
                continue
            if batch := order.batch or self._batch_of(order.file):
                earlier.append(replace(order, batch=batch))
            else:  # the run was killed before the batch was ordered
                self.budget.settle(order.ticket, 0.0)
                order.delete()
        return earlier

    def order(self, wanted: Mapping[str, Request]) -> list[Order]:
        """Order the wanted requests, in as many batches as it takes."""
        return [self._order(lines, wanted) for lines in _split(self.endpoint, wanted)]

    def _order(self, lines: Mapping[str, bytes], wanted: Mapping[str, Request]) -> Order:
        import openai

        requests = [wanted[name] for name in lines]
        worst = sum(map(self._worst, requests))
        ticket = self.budget.reserve(worst, f"a batch of {len(lines)} replies of {requests[0].model}")
        try:
            content = ("requests.jsonl", b"".join(lines.values()))
            file = self.client.files.create(file=content, purpose="batch").id
        except openai.OpenAIError as error:
            self.budget.settle(ticket, 0.0)
            raise self._refused(error) from None
        self._check_id(file)
        order = Order(self.folder / f"{content_hash(file)}.json", file, None, tuple(lines), ticket)
        order.write()
        try:
            # Without retries: an attempt whose answer is lost may have ordered the batch.
            batch = self.client_without_retries.batches.create(
                input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
            )
        except openai.OpenAIError as error:
            if isinstance(error, openai.APIStatusError):
                self.budget.settle(ticket, 0.0)
                order.delete()
            raise self._refused(error) from None  # otherwise the next run looks whether it was ordered
        self._check_id(batch.id)
        order = replace(order, batch=batch.id)
        order.write()
        return order

    def _check_id(self, name: str) -> None:
        """Make sure that an id can be written down, and that it can be read again.

        Raises:
            ModelError: it holds the key, or is no id.
        """
        if holds(self.endpoint.key_value(), name) or not ID.fullmatch(name):
            raise ModelError(
                f"{self.endpoint.base_url} gives a file or a batch the id {self.endpoint.clean(repr(name))}, which is "
                "none, or holds the key, so it cannot be written down. Set `batch: false`."
            )

    def ended(self, orders: Sequence[Order], wanted: Mapping[str, Request]) -> Iterator[tuple[Order, Results]]:
        """Each batch once it has ended, with the results of its requests."""
        waiting, pause, failed_polls = list(orders), FIRST_POLL, 0
        while waiting:
            for order in list(waiting):
                batch = self._look(order)
                failed_polls = failed_polls + 1 if batch is None else 0
                if failed_polls > FAILED_POLLS:
                    raise ModelError(
                        f"{self.endpoint.base_url} does not answer any more. Its batches go on; run the same command "
                        "again to take their replies."
                    )
                if batch == "gone":
                    waiting.remove(order)
                    yield order, {}
                elif batch is not None and not isinstance(batch, str) and batch.status in ENDED:
                    waiting.remove(order)
                    yield order, self._results(order, batch, wanted)
            if waiting:
                (self.timing.sleep or time.sleep)(pause)
                pause = min(pause * 1.5, LONGEST_POLL)

    def _look(self, order: Order) -> Batch | str | None:
        """A batch as it is; "gone" where the server has none of this id any more; None where it does not answer."""
        import openai

        from holdfast.models.endpoint.transport import UnusableReplyError

        try:
            return self.client.batches.retrieve(str(order.batch))
        except openai.NotFoundError:
            return "gone"
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise self.endpoint.locked_out(error.status_code) from None
            return None
        except UnusableReplyError as error:
            raise self._refused(error) from None
        except openai.APIConnectionError:
            return None

    def _results(self, order: Order, batch: Batch, wanted: Mapping[str, Request]) -> Results:
        """The results of a batch that has ended, of which the wanted ones are returned. Its cost is booked."""
        if batch.status == "failed":
            self.budget.settle(order.ticket, 0.0)
            order.delete()
            reasons = "; ".join(error.message or "" for error in (batch.errors and batch.errors.data) or [])
            raise ModelError(
                f"{self.endpoint.base_url} refuses a batch of {len(order.names)} requests: "
                f"{self.endpoint.clean(reasons) or 'it does not say why'}. Nothing was paid for it; mend that, or set "
                "`batch: false`."
            )
        results: Results = {}
        usd = 0.0
        for row in chain(self._rows(batch.output_file_id), self._rows(batch.error_file_id)):
            name = row.get("custom_id")
            if name in order.names:
                results[name], cost = self._result(wanted.get(name, Request(name, "", [], 0)), row)
                usd += cost
        self.budget.settle(order.ticket, usd)
        for name in order.names:
            result = results.setdefault(name, f"the batch was {batch.status} without it")
            if batch.status == "cancelled" and isinstance(result, str):  # somebody does not want it any more
                results[name] = Reply(wanted[name].id if name in wanted else name, "error", detail="cancelled")
        return {name: result for name, result in results.items() if name in wanted}

    def _rows(self, file: str | None) -> Iterator[dict[str, Any]]:
        """The rows of a batch's file. A line that cannot be read counts as a request without a result."""
        import openai

        if not file:
            return
        try:
            with (
                self.endpoint.client(FILE_SECONDS, MOST_FILE_BYTES) as client,
                client.with_options(max_retries=4).files.with_streaming_response.content(file) as response,
            ):
                for line in _lines(response.iter_bytes()):
                    with suppress(ValueError, RecursionError):
                        row = json.loads(line)
                        if isinstance(row, dict):
                            yield row
        except openai.OpenAIError as error:
            raise self._refused(error) from None

    def _result(self, request: Request, row: Mapping[str, Any]) -> tuple[Reply | str, float]:
        """The reply in a row, or why the request has to be asked again; and the cost in US dollars."""
        response = row.get("response") or {}
        status, body = response.get("status_code") or 0, response.get("body")
        if status == 200:
            try:
                reply = messages.read(request, json.dumps(body).encode()).without(self.endpoint.key_value())
            except messages.UnfinishedError as error:
                return str(error), self._worst(request)
            price = self.endpoint.price.usd(reply.prompt_tokens, reply.tokens) * BATCH_PRICE
            usd = price if reply.counted else self._worst(request)
            return replace(reply, usd=usd), usd
        problem = (body.get("error") if isinstance(body, dict) else None) or row.get("error") or {}
        message = problem.get("message") or problem.get("code") or problem if isinstance(problem, dict) else problem
        detail = self.endpoint.clean(f"{message} (HTTP {status})" if status else str(message))
        if messages.is_filter(status, problem):
            return Reply(request.id, "filtered", detail=detail), 0.0
        if 400 <= status < 500 and status not in (408, 409, 429):
            return Reply(request.id, "error", detail=detail), 0.0
        return detail, 0.0

    def _worst(self, request: Request) -> float:
        """The most US dollars that a request can cost in a batch."""
        return self.endpoint.price.usd(messages.most_tokens(request), request.max_tokens) * BATCH_PRICE

    def _batch_of(self, file: str) -> str | None:
        """The id of the batch that was ordered with a file, by a run that was killed before it knew the id."""
        import openai

        try:
            batches = self.client.batches.list(limit=100)
            return next((batch.id for batch in batches if batch.input_file_id == file), None)
        except openai.OpenAIError:
            raise ModelError(
                f"{self.endpoint.base_url} does not list its batches. Run the same command again later."
            ) from None

    def _refused(self, error: openai.OpenAIError) -> ModelError:
        """The error for a batch that the server does not take now."""
        import openai

        if isinstance(error, openai.APIStatusError):
            if error.status_code in (401, 403):
                return self.endpoint.locked_out(error.status_code)
            why = f"{self.endpoint.clean(error.message)} (HTTP {error.status_code})"
            mend = "Does it have batches at all? If not, set `batch: false`." if error.status_code in (404, 405) else ""
        else:
            why = connection_problem(error) if isinstance(error, openai.APIConnectionError) else str(error)
            why, mend = self.endpoint.clean(why), "Run the same command again: a batch under way is found."
        return ModelError(f"{self.endpoint.base_url} takes no batch now: {why}. {mend}".rstrip())


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file that comes in pieces, without those that are too long for a reply."""
    line, too_long = bytearray(), False
    for piece in pieces:
        for part in piece.splitlines(keepends=True):
            too_long = too_long or len(line) + len(part) > MOST_LINE_BYTES
            if not too_long:
                line += part
            if part.endswith((b"\n", b"\r")):
                if not too_long:
                    yield bytes(line)
                line, too_long = bytearray(), False
            elif too_long:
                line.clear()
    if line:
        yield bytes(line)


def _split(endpoint: Endpoint, wanted: Mapping[str, Request]) -> Iterator[dict[str, bytes]]:
    """The lines of each batch by name. A batch has one model, and no more than a batch takes."""
    for model in dict.fromkeys(request.model for request in wanted.values()):
        lines: dict[str, bytes] = {}
        size = 0
        for name, request in wanted.items():
            if request.model != model:
                continue
            row = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": _body(endpoint, request)}
            line = json.dumps(row).encode() + b"\n"
            if lines and (len(lines) == MOST_REQUESTS or size + len(line) > MOST_BYTES):
                yield lines
                lines, size = {}, 0
            lines[name] = line
            size += len(line)
        yield lines
