"""The settings of an endpoint, and many requests to it at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from holdfast.core.config import Spec, explained
from holdfast.core.errors import ModelError
from holdfast.core.files import did_you_mean
from holdfast.core.optional import how_to_install
from holdfast.core.protocols import Ledger
from holdfast.models.endpoint import batch, messages, retry
from holdfast.models.endpoint.messages import Reply, Request
from holdfast.models.endpoint.retry import Attempts, StoppedError, Timing

if TYPE_CHECKING:
    import openai

SHOWN = 12
"""How many of a server's models one error names."""


def _address(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", url):  # not shown: it may hold a key
        raise explained("expected an address such as http://localhost:8000/v1, without a user, a key or a query in it")
    return url.rstrip("/")


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):  # not shown: it may be the key itself
        raise explained("expected the name of an environment variable in capitals, e.g. OPENAI_API_KEY, not a key")
    return name


class Price(Spec):
    """What a provider charges, in US dollars for a million tokens."""

    input: NonNegativeFloat = 0.0
    output: NonNegativeFloat = 0.0

    def usd(self, prompt_tokens: int, tokens: int) -> float:
        """US dollars for so many tokens."""
        return (self.input * prompt_tokens + self.output * tokens) / 1e6


class PostError(ModelError):
    """What a server says against a post."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""


class Endpoint(Spec):
    """A server that speaks OpenAI's chat completions. Only what can change a reply is part of its key."""

    base_url: Annotated[str, AfterValidator(_address)]
    """Where it is, `/v1` included."""
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = Field(None, exclude=True)
    """The environment variable that holds the key; the key itself is never written anywhere."""
    price: Price = Field(Price(), exclude=True)
    """0 where it is not known: costs are not known then either, and no cap can be kept."""
    concurrency: PositiveInt = Field(16, exclude=True)
    """Requests under way at once."""
    timeout_s: PositiveFloat = Field(600.0, exclude=True)
    """Seconds to wait for a reply."""
    max_attempts: PositiveInt = Field(6, exclude=True)
    """How often one request is tried."""
    batch: bool = Field(False, exclude=True)
    """Whether requests go in batches, for half the price and within a day; a few requests are asked at once even so."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field("max_tokens", exclude=True)
    """What the server calls the token limit; OpenAI's reasoning models take only the second."""

    def faults(self) -> list[str]:
        """A missing package or key, a server that does not answer or does not let us in."""
        try:
            self.model_copy(update={"timeout_s": 5.0}).listed()
        except ModelError as error:
            return [str(error)]
        return []

    def complete(self, requests: Iterable[Request], ledger: Ledger, timing: Timing | None = None) -> Iterator[Reply]:
        """A reply for each request, as soon as it is there, in any order.

        Whoever stops taking replies loses those that are under way: at most `concurrency`.

        Raises:
            ModelError: the server does not let us in, has no such model, or wants us to come back much later.
            BudgetError: the ledger's cap is reached. As with a ModelError, what was under way is given out first.
        """
        if self.batch:
            requests = many = list(requests)
            if len(many) >= batch.SMALLEST:
                with self._client() as client:
                    yield from batch.complete(self, client, many, ledger, timing or retry.REAL)
                return
        waiting, under_way = iter(requests), set[Future[Reply]]()
        stop: BaseException | None = None
        with self._client() as client, ThreadPoolExecutor(self.concurrency, "endpoint") as pool:
            tries = Attempts(self, client, ledger, timing or retry.REAL)
            try:
                while True:
                    room = 0 if stop else self.concurrency - len(under_way)
                    under_way |= {pool.submit(tries.ask, request) for request in islice(waiting, room)}
                    if not under_way:
                        break
                    finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in finished:
                        error = future.exception()
                        if error is None:
                            yield future.result()
                        elif not isinstance(error, StoppedError):
                            stop = stop or error
                            tries.stopped.set()
            finally:
                tries.stopped.set()
        if stop:
            raise stop

    def most(self, requests: Sequence[Request]) -> tuple[int, float]:
        """The most tokens and US dollars that requests can take, attempts that fail aside."""
        read = sum(map(messages.most_tokens, requests))
        written = sum(request.max_tokens for request in requests)
        return read + written, self.price.usd(read, written) * self.share_of_price(len(requests))

    def share_of_price(self, n: int) -> float:
        """The share of the price that n requests, or fewer of them, cost at most."""
        return batch.PRICE if self.batch and n >= batch.SMALLEST / batch.PRICE else 1.0

    def listed(self) -> list[str] | None:
        """The names of the models that the server has; None where it does not tell.

        Raises:
            ModelError: nothing answers, or the server does not let us in.
        """
        import openai

        with self._client() as client:
            try:
                return [model.id for model in client.with_options(max_retries=2).models.list().data] or None
            except openai.APIStatusError as error:
                if error.status_code in (401, 403):
                    raise self.locked_out(error.status_code) from None
                return None
            except openai.APIConnectionError as error:
                raise ModelError(
                    f"nothing answers at {self.base_url} ({retry.reason(error)}). Is the server up?"
                ) from None
            except (AttributeError, TypeError, ValueError):  # not a list of models
                return None

    def require(self, model: str) -> None:
        """Make sure that the server has a model, as far as it tells.

        Raises:
            ModelError: it lists its models, and this is none of them.
        """
        names = self.listed()
        if names is not None and not {model, f"{model}:latest"} & set(names):
            raise self.unknown(model, names)

    def post(self, path: str, fields: dict[str, Any]) -> None:
        """Send something else than a chat completion.

        Raises:
            PostError: the server says no; its message is the server's, or "" where it only knows no such path.
            ModelError: nothing answers.
        """
        import httpx2
        import openai

        with self._client() as client:
            try:
                client.post(path, body=fields, cast_to=httpx2.Response)
            except openai.APIStatusError as error:
                told = isinstance(error.body, dict) and "message" in error.body
                raise PostError(self.clean(error.message) if told else "", error.status_code) from None
            except openai.APIConnectionError as error:
                raise ModelError(f"{self.base_url} does not answer ({retry.reason(error)}).") from None

    def clean(self, text: str) -> str:
        """A server's words, short and without the key."""
        key = self._key()
        text = text.replace(key, "[key]") if key else text
        return text if len(text) <= 300 else f"{text[:299]}…"

    def locked_out(self, status: int) -> ModelError:
        """What to raise where the key is not taken."""
        mend = (
            f"Check the key that the environment variable {self.api_key_env} holds, and what it allows."
            if self.api_key_env
            else "Name the environment variable that holds its key with `api_key_env`."
        )
        return ModelError(f"{self.base_url} does not let us in (HTTP {status}). {mend}")

    def unknown(self, model: str, names: list[str] | None) -> ModelError:
        """What to raise where a model is not there, among those that are."""
        if not names or model in names:
            return ModelError(
                f"{self.base_url} gives no chat completions of {model!r} (HTTP 404). "
                "Check the name, and the address: it usually ends with /v1."
            )
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        shown = ", ".join(names[:SHOWN]) + more
        return ModelError(f"{self.base_url} has no model {model!r}; it has {shown}.{did_you_mean(model, names)}")

    def _key(self) -> str:
        return os.environ.get(self.api_key_env, "").strip() if self.api_key_env else ""

    def _client(self) -> openai.OpenAI:
        try:
            import openai
        except ImportError:
            raise ModelError(f"asking a server needs the openai package. {how_to_install('hosted')}") from None
        if self.api_key_env and not self._key():
            raise ModelError(
                f"the environment variable {self.api_key_env}, which `api_key_env` names, is not set. Set it to the "
                f"key for {self.base_url}, or leave `api_key_env` out if the server needs none."
            )
        timeout = openai.Timeout(self.timeout_s, connect=min(self.timeout_s, 10.0))
        return openai.OpenAI(base_url=self.base_url, api_key=self._key() or "none", max_retries=0, timeout=timeout)
