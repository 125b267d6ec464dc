"""Requests about files and jobs: which are tried again, for how long, and what their errors mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.core.errors import ModelError, TuningError
from holdfast.models.endpoint import Connection
from holdfast.models.endpoint.retry import BACK_OFF, LONGEST_BACK_OFF, REAL, Timing, retry_after
from holdfast.models.endpoint.settings import connection_problem
from holdfast.tuning.hosted.jobs import is_refusal

T = TypeVar("T")

LONGEST_WAIT = 6 * 3600.0
"""Seconds for which a provider that is busy (HTTP 429) is asked again: it may take few jobs at once."""

PIECE = 0.1
"""Seconds of one sleep: a run that is told to stop does so between two."""

AGAIN = "What was done is kept; the same command goes on from there."


def words_of(error: Any) -> str:
    """What a server says with an HTTP error."""
    body = error.body if isinstance(error.body, dict) else {}
    message = body.get("message") or body.get("detail") or error.message
    return f"{message} ({error.code})" if error.code and str(error.code) not in str(message) else str(message)


class RefusedError(Exception):
    """The provider's checks refuse the rows. Its message is the provider's own."""


class GoneError(Exception):
    """The provider has nothing of that name (any more)."""


class Calls:
    """Sends requests to one server, and tries them again where that can help."""

    def __init__(self, connection: Connection, clean: Callable[[str], str], timing: Timing = REAL) -> None:
        self.connection, self.timing = connection, timing
        self.clean = clean
        """Takes keys and texts of rows out of what a server says."""

    def __call__(self, what: str, call: Callable[[], T], made: Callable[[], T | None] | None = None) -> T:
        """What a request gives.

        Args:
            what: what it is for, in words for messages.
            call: sends it, once.
            made: of a request that makes something, looks whether an earlier attempt made it though no answer came.

        Raises:
            RefusedError: the provider's checks refuse the rows.
            GoneError: HTTP 404.
            ModelError: no access, no credit, or no answer after all attempts.
            TuningError: the provider refuses the request, or answers with something else than it should.
        """
        import openai

        attempts, begun = 0, self.timing.clock()
        while True:
            attempts += 1
            try:
                return call()
            except openai.APIStatusError as error:
                pause = self._after(what, error, attempts, self.timing.clock() - begun)
                lost = error.status_code != 429
            except openai.APIConnectionError as error:
                if attempts >= self.connection.max_attempts:
                    why = self.connection.clean(connection_problem(error))
                    raise ModelError(f"{what}: {self.connection.base_url} does not answer ({why}). {AGAIN}") from None
                pause, lost = 0.0, True
            except (AttributeError, KeyError, TypeError, ValueError):  # the error may show what was sent
                raise self._unusable(what) from None
            self.wait(pause + self.timing.random() * min(BACK_OFF * 2 ** (attempts - 1), LONGEST_BACK_OFF))
            if lost and made and (found := self(f"{what}, looking whether it is there", made)) is not None:
                return found

    def wait(self, seconds: float) -> None:
        """Wait, so that Ctrl-C is noticed."""
        if self.timing.sleep:
            self.timing.sleep(seconds)
            return
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, PIECE))

    def _after(self, what: str, error: Any, attempts: int, seconds: float) -> float:
        """The seconds to wait, as the server asks, before another attempt can help.

        Raises:
            as the request itself: no other attempt would help.
        """
        status, connection = error.status_code, self.connection
        said = self.clean(words_of(error))
        if is_refusal(error):
            raise RefusedError(said)
        if status in (401, 403):
            raise connection.locked_out(status) from None
        if status == 404:
            raise GoneError(f"{what}: {said} (HTTP 404)")
        if status == 402 or error.code == "insufficient_quota":
            raise ModelError(
                f"the account at {connection.base_url} has no credit left (HTTP {status}). {AGAIN} Add credit first."
            ) from None
        if status == 429 and seconds < LONGEST_WAIT:
            return retry_after(error.response.headers) or 0.0
        if (status in (408, 409) or status >= 500) and attempts < connection.max_attempts:
            return retry_after(error.response.headers) or 0.0
        if status in (408, 409, 429) or status >= 500:
            raise ModelError(f"{what}: {connection.base_url} fails: {said} (HTTP {status}). {AGAIN}") from None
        raise TuningError(f"{what}: {connection.base_url} refuses it: {said} (HTTP {status}).") from None

    def _unusable(self, what: str) -> TuningError:
        return TuningError(
            f"{what}: what {self.connection.base_url} answers is not what this API answers. Is `base_url` right, and "
            "`provider`?"
        )
