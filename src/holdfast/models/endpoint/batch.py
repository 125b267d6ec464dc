"""Many requests for half the price: batches, which a provider answers within a day (OpenAI's Batch API).

What was ordered is written down before it is waited for, so that a run that was killed finds its batches again:
HOLDFAST_CACHE (or ~/.cache/holdfast)/batches/<server>/<file>.json, deleted once all its replies were taken.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import ModelError
from holdfast.core.files import cache, write_atomically
from holdfast.core.protocols import Ledger
from holdfast.core.types import content_hash
from holdfast.models.endpoint import messages
from holdfast.models.endpoint.messages import Request
from holdfast.models.endpoint.retry import Timing
from holdfast.models.endpoint.settings import BATCH_PRICE, Endpoint
from holdfast.models.samplers.base import Reply

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

MOST_REQUESTS, MOST_BYTES = 50_000, 100_000_000
"""What one batch takes: providers allow 50,000 requests, and 100 MB or more."""
ROUNDS = 2
"""How often a request is put into a batch."""
FIRST_LOOK, LONGEST_LOOK = 5.0, 60.0
"""Seconds between two looks at a batch: at first, and at most."""
BLIND = 20
"""Looks in a row that may fail."""
ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class Order:
    """A batch as it is written down."""

    path: str
    file: str
    """The id of the file with its requests, which is known before the batch is ordered."""
    batch: str | None
    """Its id; None if the run was killed as it was ordered."""
    names: tuple[str, ...]
    ticket: str
    """What was set aside for it in the ledger of the run that ordered it."""

    def write(self) -> None:
        """Write it down."""
        write_atomically(Path(self.path), json.dumps(asdict(self)) + "\n")


def complete(
    endpoint: Endpoint, client: openai.OpenAI, requests: Sequence[Request], ledger: Ledger, timing: Timing
) -> Iterator[Reply]:
    """A reply for each request, in any order, some at a time, as `Endpoint.complete` gives them.

    Raises:
        ModelError: the server has no batches, or refuses one as a whole, e.g. because too much waits already.
        BudgetError: the ledger's cap is reached.
    """
    wanted = _named(endpoint, requests)
    desk = _Desk(endpoint, client, ledger, timing)
    why = dict.fromkeys(wanted, "it never came back from a batch")
    for _ in range(ROUNDS):
        under_way = desk.found(wanted)
        ordered = {name for order in under_way for name in order.names}
        under_way += desk.order({name: request for name, request in wanted.items() if name not in ordered})
        for order, replies in desk.ended(under_way, wanted):
            for name, reply in replies.items():
                if isinstance(reply, Reply):
                    del wanted[name]
                    yield reply
                else:
                    why[name] = reply
            desk.forget(order)
        if not wanted:
            return
    for name, request in wanted.items():
        yield Reply(request.id, "error", detail=endpoint.clean(why[name]) + f" ({ROUNDS} batches)")


def _named(endpoint: Endpoint, requests: Sequence[Request]) -> dict[str, Request]:
    """Requests by the hash of what is asked, and a number where the same is asked again."""
    times, named = Counter[str](), dict[str, Request]()
    for request in requests:
        content = content_hash(_body(endpoint, request))
        named[f"{content}-{times[content]}"] = request
        times[content] += 1
    return named


def _body(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    turns = [dict(turn) for turn in request.messages]
    return {"model": request.model, "messages": turns, **messages.body(request, endpoint.token_limit)}


class _Desk:
    """Where batches are ordered, looked after and taken."""

    def __init__(self, endpoint: Endpoint, client: openai.OpenAI, ledger: Ledger, timing: Timing) -> None:
        self.endpoint, self.ledger, self.timing = endpoint, ledger, timing
        self.once, self.client = client, client.with_options(max_retries=4)
        self.folder = cache() / "batches" / content_hash(endpoint.base_url)

    def found(self, wanted: Mapping[str, Request]) -> list[Order]:
        """Batches that were ordered before and hold something that is wanted."""
        orders = [Order(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(self.folder.glob("*.json"))]
        known = []
        for order in orders:
            if wanted.keys() & set(order.names):
                batch = order.batch or self._batch_of(order.file)
                if batch:
                    known.append(replace(order, batch=batch, names=tuple(order.names)))
                else:  # killed before it was ordered
                    self.ledger.settle(order.ticket, 0.0)
                    self.forget(order)
        return known

    def order(self, wanted: Mapping[str, Request]) -> list[Order]:
        """Order what is wanted, in as many batches as it takes."""
        return [self._order(lines, wanted) for lines in _split(self.endpoint, wanted)]

    def _order(self, lines: Mapping[str, bytes], wanted: Mapping[str, Request]) -> Order:
        import openai

        requests = [wanted[name] for name in lines]
        worst = sum(map(self._worst, requests))
        ticket = self.ledger.reserve(worst, f"a batch of {len(lines)} replies of {requests[0].model}")
        try:
            content = ("requests.jsonl", b"".join(lines.values()))
            file = self.client.files.create(file=content, purpose="batch").id
            order = Order(str(self.folder / f"{content_hash(file)}.json"), file, None, tuple(lines), ticket)
            order.write()
        except openai.OpenAIError as error:
            self.ledger.settle(ticket, 0.0)
            raise self._refused(error) from None
        try:
            batch = self.once.batches.create(
                input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
            )
        except openai.APIStatusError as error:
            self.ledger.settle(ticket, 0.0)
            self.forget(order)
            raise self._refused(error) from None
        except openai.OpenAIError as error:  # it may have been ordered; the next run looks it up
            raise self._refused(error) from None
        order = replace(order, batch=batch.id)
        order.write()
        return order

    def ended(
        self, under_way: Sequence[Order], wanted: Mapping[str, Request]
    ) -> Iterator[tuple[Order, dict[str, Reply | str]]]:
        """Each batch once it has ended, with what became of its requests: a reply, or why there is none yet."""
        waiting, pause, blind = list(under_way), FIRST_LOOK, 0
        while waiting:
            for order in list(waiting):
                state = self._look(order)
                blind = blind + 1 if state is None else 0
                if blind > BLIND:
                    raise ModelError(
                        f"{self.endpoint.base_url} does not answer any more. Batches go on there; run the same command "
                        "again to take what they bring."
                    )
                if state == "gone" or (state is not None and not isinstance(state, str) and state.status in ENDED):
                    waiting.remove(order)
                    yield order, {} if isinstance(state, str) else self._taken(order, state, wanted)
            if waiting:
                (self.timing.sleep or time.sleep)(pause)
                pause = min(pause * 1.5, LONGEST_LOOK)

    def forget(self, order: Order) -> None:
        """Delete what was written down of a batch."""
        Path(order.path).unlink(missing_ok=True)

    def _look(self, order: Order) -> Batch | str | None:
        """A batch as it is; "gone" where the server has none of its id any more, None where it does not tell now."""
        import openai

        try:
            return self.client.batches.retrieve(str(order.batch))
        except openai.NotFoundError:
            return "gone"
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise self.endpoint.locked_out(error.status_code) from None
            return None
        except openai.APIConnectionError:
            return None

    def _taken(self, order: Order, batch: Batch, wanted: Mapping[str, Request]) -> dict[str, Reply | str]:
        """What became of each request of a batch that has ended; what it cost is booked."""
        if batch.status == "failed":
            self.ledger.settle(order.ticket, 0.0)
            self.forget(order)
            said = "; ".join(filter(None, (e.message for e in (batch.errors and batch.errors.data) or [])))
            raise ModelError(
                f"{self.endpoint.base_url} refuses a batch of {len(order.names)} requests: "
                f"{self.endpoint.clean(said) or 'it does not say why'}. Nothing was paid for it; mend that, or set "
                "`batch: false`."
            )
        replies: dict[str, Reply | str] = {}
        usd = 0.0
        for row in [*self._rows(batch.output_file_id), *self._rows(batch.error_file_id)]:
            name = row.get("custom_id")
            if name in order.names:
                replies[name], cost = self._reply(wanted.get(name, Request(name, "", [], 0)), row)
                usd += cost
        self.ledger.settle(order.ticket, usd)
        for name in order.names:
            found = replies.setdefault(name, f"the batch was {batch.status} without it")
            if batch.status == "cancelled" and isinstance(found, str):  # by somebody who does not want it
                replies[name] = Reply(wanted[name].id if name in wanted else name, "error", detail="cancelled")
        return {name: reply for name, reply in replies.items() if name in wanted}

    def _rows(self, file: str | None) -> list[dict[str, Any]]:
        import openai

        if not file:
            return []
        try:
            content = self.client.files.content(file).content
        except openai.OpenAIError as error:
            raise self._refused(error) from None
        rows = []
        for line in content.splitlines():
            with suppress(json.JSONDecodeError):  # what cannot be read counts as what did not come
                rows.append(json.loads(line))
        return [row for row in rows if isinstance(row, dict)]

    def _reply(self, request: Request, row: Mapping[str, Any]) -> tuple[Reply | str, float]:
        """A reply and what it cost; or why it is to be asked again."""
        response = row.get("response") or {}
        status, body = response.get("status_code") or 0, response.get("body")
        if status == 200:
            try:
                found = messages.read(request, json.dumps(body).encode())
            except messages.UnfinishedError as error:
                return str(error), self._worst(request)
            price = self.endpoint.price.usd(found.prompt_tokens, found.tokens) * BATCH_PRICE
            usd = price if found.counted else self._worst(request)
            return replace(found, usd=usd), usd
        problem = (body.get("error") if isinstance(body, dict) else None) or row.get("error") or {}
        said = str(problem.get("message") or problem.get("code") or problem) if isinstance(problem, dict) else problem
        detail = self.endpoint.clean(f"{said} (HTTP {status})" if status else str(said))
        if messages.is_filter(status, problem):
            return Reply(request.id, "filtered", detail=detail), 0.0
        if 400 <= status < 500 and status not in (408, 409, 429):
            return Reply(request.id, "error", detail=detail), 0.0
        return detail, 0.0

    def _worst(self, request: Request) -> float:
        return self.endpoint.price.usd(messages.most_tokens(request), request.max_tokens) * BATCH_PRICE

    def _batch_of(self, file: str) -> str | None:
        """The batch that was ordered with a file, by a run that was killed before it knew."""
        import openai

        with suppress(openai.OpenAIError):
            return next(
                (batch.id for batch in self.client.batches.list(limit=100) if batch.input_file_id == file), None
            )
        raise ModelError(f"{self.endpoint.base_url} does not list its batches. Run the same command again later.")

    def _refused(self, error: openai.OpenAIError) -> ModelError:
        import openai

        if isinstance(error, openai.APIStatusError):
            if error.status_code in (401, 403):
                return self.endpoint.locked_out(error.status_code)
            why = f"{self.endpoint.clean(error.message)} (HTTP {error.status_code})"
            mend = "Does it have batches at all? If not, set `batch: false`." if error.status_code in (404, 405) else ""
        else:
            why, mend = self.endpoint.clean(str(error)), "Run the same command again: a batch under way is found."
        return ModelError(f"{self.endpoint.base_url} takes no batch now: {why}. {mend}".rstrip())


def _split(endpoint: Endpoint, wanted: Mapping[str, Request]) -> Iterator[dict[str, bytes]]:
    """The lines of each batch by name: of one model, and no more than a batch takes."""
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
