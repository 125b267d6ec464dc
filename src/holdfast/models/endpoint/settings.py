"""The settings of a server that speaks OpenAI's chat completions, and small questions about it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from holdfast.core.config import Config, explained
from holdfast.core.errors import ModelError
from holdfast.core.files import did_you_mean
from holdfast.core.optional import how_to_install
from holdfast.models.endpoint import messages
from holdfast.models.endpoint.messages import Request
from holdfast.models.samplers.base import without_key

if TYPE_CHECKING:
    import openai

SHOWN = 12
"""How many of a server's models one error names."""

BATCH_PRICE = 0.5
"""The share of the price that a request costs in a batch."""
SMALLEST_BATCH = 20
"""Fewer requests than this are asked at once, for the full price: they are not worth the wait."""


def _address(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", url):  # not shown: it may hold a key
        raise explained("expected an address such as http://localhost:8000/v1, without a user, a key or a query in it")
    return url.rstrip("/")


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):  # not shown: it may be the key itself
        raise explained("expected the name of an environment variable in capitals, e.g. OPENAI_API_KEY, not a key")
    return name


class Price(Config):
    """What a provider charges, in US dollars for a million tokens."""

    input: NonNegativeFloat = 0.0
    output: NonNegativeFloat = 0.0

    def usd(self, prompt_tokens: int, tokens: int) -> float:
        """The price of so many prompt tokens and generated tokens, in US dollars."""
        return (self.input * prompt_tokens + self.output * tokens) / 1e6


class Connection(Config):
    """A server that speaks OpenAI's API, and how it is reached."""

    base_url: Annotated[str, AfterValidator(_address)]
    """Its address, `/v1` included."""
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = Field(None, exclude=True)
    """The environment variable that holds the key. The key itself is never written anywhere: `[key]` stands in its
    place where the server repeats it."""
    timeout_s: PositiveFloat = Field(600.0, exclude=True)
    """Seconds in which a reply must be whole."""
    max_attempts: PositiveInt = Field(6, exclude=True)
    """How often one request is tried."""

    def faults(self) -> list[str]:
        """A missing package or key, a server that does not answer or refuses the key."""
        try:
            self.model_copy(update={"timeout_s": 5.0}).listed()
        except ModelError as error:
            return [str(error)]
        return []

    def listed(self) -> list[str] | None:
        """The names of the server's models; None where it does not list them.

        Raises:
            ModelError: nothing answers, or the server refuses the key.
        """
        import openai

        from holdfast.models.endpoint.transport import UnusableReplyError

        with self.client() as client:
            try:
                return [self.clean(model.id) for model in client.with_options(max_retries=2).models.list().data] or None
            except openai.APIStatusError as error:
                if error.status_code in (401, 403):
                    raise self.locked_out(error.status_code) from None
                return None
            except openai.APIConnectionError as error:
                raise ModelError(
                    f"{self.base_url} does not list its models: {self.clean(connection_problem(error))}"
                    if isinstance(error, UnusableReplyError)
                    else f"nothing answers at {self.base_url} ({connection_problem(error)}). Is the server up?"
                ) from None
            except (AttributeError, TypeError, ValueError):  # not a list of models
                return None

    def require(self, model: str) -> None:
        """Make sure that the server has a model, if it lists its models at all.

        Raises:
            ModelError: it lists its models, and this is not one of them.
        """
        names = self.listed()
        if names is not None and not {model, f"{model}:latest"} & set(names):
            raise self.unknown(model, names)

    def client(self, timeout_s: float | None = None, most_bytes: int | None = None) -> openai.OpenAI:
        """A new connection, which the caller closes.

        Args:
            timeout_s: seconds in which a reply must be whole; as set for the server if not given.
            most_bytes: the most bytes that a reply may have; 16 MB if not given.

        Raises:
            ModelError: the openai package or the key is missing.
        """
        try:
            import openai
        except ImportError:
            raise ModelError(f"asking a server needs the openai package. {how_to_install('hosted')}") from None
        if self.api_key_env and not self.key_value():
            raise ModelError(
                f"the environment variable {self.api_key_env}, which `api_key_env` names, is not set. Set it to the "
                f"key for {self.base_url}, or leave `api_key_env` out if the server needs none."
            )
        import httpx2

        from holdfast.models.endpoint.transport import MOST_REPLY_BYTES, BoundedTransport

        total = timeout_s or self.timeout_s
        return openai.OpenAI(
            base_url=self.base_url, api_key=self.key_value() or "none", max_retries=0,
            timeout=openai.Timeout(total, connect=min(total, 10.0)),
            http_client=httpx2.Client(transport=BoundedTransport(most_bytes or MOST_REPLY_BYTES)),
        )  # fmt: skip

    def clean(self, text: str) -> str:
        """A server's message, shortened and without the key."""
        text = without_key(text, self.key_value())
        return text if len(text) <= 300 else f"{text[:299]}…"

    def locked_out(self, status: int) -> ModelError:
        """The error for a key that the server refuses."""
        mend = (
            f"Check the key that the environment variable {self.api_key_env} holds, and what it allows."
            if self.api_key_env
            else "Name the environment variable that holds its key with `api_key_env`."
        )
        return ModelError(f"{self.base_url} denies access (HTTP {status}). {mend}")

    def unknown(self, model: str, names: list[str] | None) -> ModelError:
        """The error for a model that the server does not have; `names` are those that it has."""
        if not names or model in names:
            return ModelError(
                f"{self.base_url} gives no chat completions of {model!r} (HTTP 404). "
                "Check the name, and the address: it usually ends with /v1."
            )
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        shown = ", ".join(names[:SHOWN]) + more
        return ModelError(f"{self.base_url} has no model {model!r}; it has {shown}.{did_you_mean(model, names)}")

    def key_value(self) -> str:
        """The key itself; "" if there is none."""
        return os.environ.get(self.api_key_env, "").strip() if self.api_key_env else ""


class Endpoint(Connection):
    """A server that speaks OpenAI's chat completions. Only settings that can change a reply are part of its key."""

    price: Price = Field(Price(), exclude=True)
    """Leave it out where you do not know it. Costs are then not known, and no cap can be kept."""
    concurrency: PositiveInt = Field(16, exclude=True)
    """Requests under way at the same time."""
    batch: bool = Field(False, exclude=True)
    """Whether requests go in batches, for half the price and within a day. A few requests are asked at once anyway."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field("max_tokens", exclude=True)
    """The server's name for the token limit. OpenAI's reasoning models accept only the second."""

    def most(self, requests: Sequence[Request]) -> tuple[int, float]:
        """The most tokens and US dollars that requests can take, failed attempts not counted."""
        prompt_tokens = sum(map(messages.most_tokens, requests))
        tokens = sum(request.max_tokens for request in requests)
        return prompt_tokens + tokens, self.price.usd(prompt_tokens, tokens) * self.share_of_price(len(requests))

    def share_of_price(self, n: int) -> float:
        """The share of the price of n requests that n requests, or fewer, can cost at most.

        Fewer than `SMALLEST_BATCH` requests cost their full price. That is less than n requests cost in a batch as
        soon as n is large enough.
        """
        return BATCH_PRICE if self.batch and n >= SMALLEST_BATCH / BATCH_PRICE else 1.0


def connection_problem(error: openai.APIConnectionError) -> str:
    """Why a connection failed, in words that hold nothing of the request."""
    from holdfast.models.endpoint.transport import TooSlowError

    cause = error.__cause__
    if isinstance(cause, TooSlowError):
        return str(cause)
    return f"{error.message.rstrip('.')}: {type(cause).__name__}" if cause else error.message
