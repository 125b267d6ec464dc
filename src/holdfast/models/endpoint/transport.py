"""How replies are fetched: whole, within a total time, and never more bytes than are allowed.

An HTTP library's own time limits count from one piece of a reply to the next, so a server that sends a byte now and
then could hold a run for ever. Here the limit holds for the whole request, and a reply that grows too large is given
up where it does, after decompression.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile

import anyio
import httpx2
import openai
from anyio.from_thread import start_blocking_portal

MOST_REPLY_BYTES = 16_000_000
"""The most bytes that one reply may have. A long answer with its log-probabilities has about one million."""
PIECE = 1 << 16
"""Bytes that are read or decompressed together."""

REDIRECTS = (301, 302, 303, 307, 308)

DESCRIBES_CODING = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that are no longer true of a reply once it is decompressed."""


class UnusableReplyError(openai.APIConnectionError):
    """A reply that is not read to its end; another attempt would bring the same."""

    def __init__(self, message: str, request: httpx2.Request) -> None:
        super().__init__(message=message, request=request)


class RedirectedError(UnusableReplyError):
    """A reply that names another address. The request is not sent there: it may hold a key, a code or a prompt."""

    def __init__(self, response: httpx2.Response) -> None:
        try:
            target = response.url.join(response.headers.get("location", ""))
            address = f"{target.scheme}://{target.netloc.decode('ascii', 'replace').rpartition('@')[2]}"[:100]
        except (httpx2.InvalidURL, ValueError):
            address = "an address that is none"
        super().__init__(
            f"it sends requests on to {address} (HTTP {response.status_code}), and they are not sent there: they may "
            "hold keys and prompts. If that is the right server, name its own address as `base_url`",
            response.request,
        )


class TooSlowError(httpx2.ReadTimeout):
    """A reply that was not whole in time."""


class BoundedTransport(httpx2.BaseTransport):
    """Fetches each reply whole before it is read. Many threads may use it at once.

    The requests run in an event loop of their own: only there can one be given up at any point.
    """

    def __init__(self, most_bytes: int = MOST_REPLY_BYTES) -> None:
        self.most_bytes = most_bytes
        self._closing = ExitStack()
        self._portal = self._closing.enter_context(start_blocking_portal())
        unlimited = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        self._client = httpx2.AsyncClient(follow_redirects=False, limits=unlimited)
        self._closing.callback(self._portal.call, self._client.aclose)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The whole reply. The `read` timeout of the request is its total time in seconds.

        Raises:
            TooSlowError: it was not whole in time.
            RedirectedError: it sends the request elsewhere, be it on the same host.
            UnusableReplyError: it has more than `most_bytes`, or is compressed in a way that was not asked for.
        """
        return self._portal.call(self._fetched, request)

    def close(self) -> None:
        """Close all connections."""
        self._closing.close()

    async def _fetched(self, request: httpx2.Request) -> httpx2.Response:
        seconds = request.extensions["timeout"]["read"]
        request.headers["Accept-Encoding"] = "gzip"
        try:
            with anyio.fail_after(seconds):
                response = await self._client.send(request, stream=True)
                try:
                    if response.status_code in REDIRECTS:
                        raise RedirectedError(response)
                    body = await self._body(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.ReadTimeout):
            raise TooSlowError(f"no whole reply within {seconds:g} s (`timeout_s`)") from None
        headers = [
            (name, value) for name, value in response.headers.raw if name.lower().decode() not in DESCRIBES_CODING
        ]
        return httpx2.Response(response.status_code, headers=headers, stream=body)

    async def _body(self, response: httpx2.Response) -> _Body:
        """The decompressed body. Only its beginning is in memory where it is large."""
        file = SpooledTemporaryFile[bytes](max_size=MOST_REPLY_BYTES)
        try:
            async for piece in _decompressed(response):
                if file.tell() + len(piece) > self.most_bytes:
                    raise UnusableReplyError(
                        f"the reply is larger than {self.most_bytes / 1e6:.0f} MB", response.request
                    )
                file.write(piece)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return _Body(file)


class _Body(httpx2.SyncByteStream):
    """A body that was fetched, in pieces."""

    def __init__(self, file: SpooledTemporaryFile[bytes]) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(PIECE):
            yield piece

    def close(self) -> None:
        self._file.close()


async def _decompressed(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body in small pieces, however much one byte of it expands to."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        async for piece in response.aiter_raw(PIECE):
            yield piece
        return
    if coding not in ("gzip", "x-gzip"):
        raise UnusableReplyError(f"the reply is coded as {coding[:20]!r}, which was not asked for", response.request)
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: in gzip's format
    try:
        async for compressed in response.aiter_raw(PIECE):
            left = compressed
            while piece := decoder.decompress(left, PIECE):
                yield piece
                left = decoder.unconsumed_tail
    except zlib.error as error:
        raise UnusableReplyError(f"the reply cannot be decompressed: {error}", response.request) from None
