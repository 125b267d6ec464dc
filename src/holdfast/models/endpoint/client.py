"""Requests to a server, many at once or in batches, and the replies as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

from holdfast.core import stopping
from holdfast.core.errors import ModelError
from holdfast.core.protocols import Budget
from holdfast.models.endpoint import batch, retry
from holdfast.models.endpoint.messages import Request
from holdfast.models.endpoint.retry import Attempts, StoppedError, Timing
from holdfast.models.endpoint.settings import SMALLEST_BATCH, Endpoint, connection_problem
from holdfast.models.samplers.base import Reply

LOOK_EVERY = 0.1
"""Seconds between two looks whether the work is to be stopped, while no reply comes."""


class PostError(ModelError):
    """A server's refusal of a post."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""


def complete(
    endpoint: Endpoint, requests: Iterable[Request], budget: Budget, timing: Timing | None = None
) -> Iterator[Reply]:
    """A reply for each request, as soon as it is there, in any order.

    A caller that stops early loses the requests that are under way: at most `concurrency`.

    Raises:
        ModelError: the server refuses the key, has no such model, or asks for a very long wait.
        BudgetError: the budget's cap is reached. As with a ModelError, the replies under way are given out first.
    """
    timing = timing or retry.REAL
    if endpoint.batch:
        requests = list(requests)
        if len(requests) >= SMALLEST_BATCH:
            with endpoint.client() as client:
                yield from batch.complete(endpoint, client, requests, budget, timing)
            return
    with endpoint.client() as client:
        yield from _in_parallel(Attempts(endpoint, client, budget, timing), requests)


def _in_parallel(attempts: Attempts, requests: Iterable[Request]) -> Iterator[Reply]:
    """Ask several requests at once. After an error nothing new is started, and the error is raised at the end.

    Ctrl-C is such an error too: the replies under way are paid for, and are given out first.
    """
    with stopping.hold():
        yield from _while_held(attempts, requests)


def _while_held(attempts: Attempts, requests: Iterable[Request]) -> Iterator[Reply]:
    waiting, under_way = iter(requests), set[Future[Reply]]()
    first_error: BaseException | None = None
    width, at_once = attempts.endpoint.concurrency, False
    pool = ThreadPoolExecutor(width, "endpoint")
    try:
        while True:
            if stopping.requested():
                attempts.stopped.set()
            free = 0 if attempts.stopped.is_set() else width - len(under_way)
            under_way |= {pool.submit(attempts.ask, request) for request in islice(waiting, free)}
            if not under_way:
                break
            finished, under_way = wait(under_way, LOOK_EVERY, FIRST_COMPLETED)
            for future in finished:
                error = future.exception()
                if error is None:
                    yield future.result()
                elif not isinstance(error, StoppedError):
                    first_error = first_error or error
                    attempts.stopped.set()
    except KeyboardInterrupt:  # the second one
        at_once = True
        raise
    finally:
        attempts.stopped.set()
        pool.shutdown(wait=not at_once, cancel_futures=True)
    if first_error:
        raise first_error


def post(endpoint: Endpoint, path: str, fields: dict[str, Any]) -> None:
    """Send something else than a chat completion.

    Raises:
        PostError: the server refuses. The message is the server's own, or "" where the server does not know the path.
        ModelError: nothing answers.
    """
    import httpx2
    import openai

    with endpoint.client() as client:
        try:
            client.post(path, body=fields, cast_to=httpx2.Response)
        except openai.APIStatusError as error:
            has_message = isinstance(error.body, dict) and "message" in error.body
            raise PostError(endpoint.clean(error.message) if has_message else "", error.status_code) from None
        except openai.APIConnectionError as error:
            why = endpoint.clean(connection_problem(error))
            raise ModelError(f"{endpoint.base_url} does not answer ({why}).") from None
