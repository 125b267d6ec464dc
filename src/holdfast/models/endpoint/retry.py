"""One request, tried until it is answered: what is tried again, how long to wait, and what it may cost."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from holdfast.core.errors import ModelError
from holdfast.core.protocols import Budget
from holdfast.models.endpoint import messages
from holdfast.models.endpoint.messages import Request
from holdfast.models.endpoint.settings import Endpoint, connection_problem
from holdfast.models.samplers.base import Reply

if TYPE_CHECKING:
    import openai

BACK_OFF, LONGEST_BACK_OFF = 1.0, 60.0
"""Seconds. The first wait is drawn between 0 and BACK_OFF. For each later wait the upper end doubles, up to
LONGEST_BACK_OFF (exponential back-off with full jitter)."""
LONGEST_PAUSE = 600.0
"""Seconds that a server may ask us to wait. If it asks for more, the run stops and can be continued later."""


@dataclass(frozen=True)
class Timing:
    """The clock, the sleep and the random numbers of waiting; tests replace them and need not wait."""

    clock: Callable[[], float] = time.monotonic
    """Seconds since some moment, however the machine's date is set meanwhile."""
    sleep: Callable[[float], object] | None = None
    """Waits for so many seconds; None waits too, but stops as soon as the work is over."""
    random: Callable[[], float] = random.random
    """A number between 0 and 1."""


REAL = Timing()


class StoppedError(Exception):
    """The work was stopped before this request was answered; the next run asks it."""


@dataclass(frozen=True)
class _Failure:
    """An attempt that brought no reply."""

    detail: str
    again: bool = False
    """Whether another attempt can succeed."""
    may_cost: bool = False
    """Whether the server may have done the work, and charges for it."""
    everyone: bool = False
    """Whether all requests have to wait, not only this one."""
    pause: float = 0.0
    """Seconds that the server asks for."""
    outcome: Literal["error", "filtered"] = "error"


class Attempts:
    """The attempts at all requests of one call of `complete`; its methods are called from several threads."""

    def __init__(self, endpoint: Endpoint, client: openai.OpenAI, budget: Budget, timing: Timing) -> None:
        self.endpoint, self.client, self.budget, self.timing = endpoint, client, budget, timing
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._paused_until = 0.0

    def ask(self, request: Request) -> Reply:
        """The reply, after as many attempts as it needs or may take.

        Raises:
            ModelError: what would fail for every other request too.
            BudgetError: the next attempt could go past the cap.
            StoppedError: the work was over first.
        """
        usd, own_wait, attempts = 0.0, 0.0, 0
        while True:
            self._wait(own_wait)
            result, cost = self._paid_attempt(request)
            usd, attempts = usd + cost, attempts + 1
            if isinstance(result, Reply):
                return replace(result, usd=usd)
            if not result.again or attempts == self.endpoint.max_attempts:
                count = f" ({attempts} attempts)" if attempts > 1 else ""
                return Reply(request.id, result.outcome, detail=self.endpoint.clean(result.detail) + count, usd=usd)
            back_off = self.timing.random() * min(BACK_OFF * 2 ** (attempts - 1), LONGEST_BACK_OFF)
            if result.everyone:
                self._pause(result.pause or back_off)
            own_wait = result.pause + back_off

    def _paid_attempt(self, request: Request) -> tuple[Reply | _Failure, float]:
        """The result of one attempt and its cost in US dollars. The most that it can cost is set aside before."""
        price = self.endpoint.price
        worst = price.usd(messages.most_tokens(request), request.max_tokens)
        ticket = self.budget.reserve(worst, f"a reply of {request.model}")
        try:
            result = self._attempt(request)
        except ModelError:
            self.budget.settle(ticket, 0.0)
            raise
        if isinstance(result, Reply):
            cost = price.usd(result.prompt_tokens, result.tokens) if result.counted else worst
        else:
            cost = worst if result.may_cost else 0.0
        self.budget.settle(ticket, cost)
        return result, cost

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._paused_until = max(self._paused_until, self.timing.clock() + seconds)

    def _wait(self, seconds: float) -> None:
        """Wait for this request's own back-off, and for as long as all requests have to."""
        end = self.timing.clock() + seconds
        while not self.stopped.is_set():
            left = max(end, self._paused_until) - self.timing.clock()
            if left <= 0:
                return
            (self.timing.sleep or self.stopped.wait)(left)
        raise StoppedError

    def _attempt(self, request: Request) -> Reply | _Failure:
        import openai

        from holdfast.models.endpoint.transport import RedirectedError, UnusableReplyError

        try:
            raw = self.client.chat.completions.with_raw_response.create(
                model=request.model,
                messages=cast("Any", [dict(turn) for turn in request.messages]),
                extra_body=messages.body(request, self.endpoint.token_limit),
            )
            return messages.read(request, raw.content).without(self.endpoint.key_value())
        except messages.UnfinishedError as error:
            return _Failure(str(error), again=True, may_cost=True)
        except openai.APIStatusError as error:
            return self._failure(request, error)
        except RedirectedError as error:
            why = self.endpoint.clean(error.message)
            raise ModelError(f"{self.endpoint.base_url} does not answer itself: {why}.") from None
        except openai.APIConnectionError as error:
            was_sent = "Connect" not in type(error.__cause__).__name__
            again = not isinstance(error, UnusableReplyError)
            return _Failure(connection_problem(error), again, may_cost=was_sent)
        except ValueError as error:  # e.g. half of a surrogate pair, which UTF-8 cannot hold
            return _Failure(f"the request cannot be sent: {error}")

    def _failure(self, request: Request, error: openai.APIStatusError) -> _Failure:
        """What an HTTP error means for this request.

        Raises:
            ModelError: every other request would fail in the same way.
        """
        status, endpoint = error.status_code, self.endpoint
        if messages.is_filter(status, error.body):
            return _Failure(error.message, outcome="filtered")
        if status in (401, 403):
            raise endpoint.locked_out(status) from None
        if status == 404:
            raise endpoint.unknown(request.model, endpoint.listed()) from None
        if status == 402 or error.code == "insufficient_quota":
            raise ModelError(
                f"the account at {endpoint.base_url} has no credit left (HTTP {status}). What was finished is kept; "
                "add credit and run the same command again."
            ) from None
        again = status in (408, 409, 429) or status >= 500
        pause = retry_after(error.response.headers) if again else None
        if pause is not None and pause > LONGEST_PAUSE:
            raise ModelError(
                f"{endpoint.base_url} asks us to wait for {pause:.0f} s (HTTP {status}). What was finished is kept; "
                "run the same command again after that."
            ) from None
        return _Failure(error.message, again, everyone=status == 429 or pause is not None, pause=pause or 0.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by a Retry-After header, which gives seconds or a date (RFC 9110, section 10.2.3).

    A date is compared with the server's own, so that it does not matter what this machine's clock says.
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            now = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
