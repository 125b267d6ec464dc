"""Connections whose client neither sends nor reads are closed, whatever they hold; and there are not too many."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

from uvicorn.protocols.http.h11_impl import H11Protocol

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: what was not read is thrown away, in place of being kept until it is."""


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP, which also gives up a client that begins no request, or does not read the end of an answer.

    uvicorn waits for both without end. What happens in between is watched by the gateway.
    """

    patience = 30.0
    """Seconds."""
    most = 16_384
    """Connections at once; further ones are closed."""

    _awaited: float | None = None
    """Since when a request is to begin; None where none has to."""
    _unread = 0
    """Bytes that were not read yet at the last look."""
    _seen: object = None
    """The request that was answered last at the last look."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._awaited = self.loop.time()
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: what the system has of an answer does not stay either
            with suppress(OSError):
                timeout = int(self.patience * 1000)
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
        self._look_later()
        if len(self.connections) > self.most:
            self._throw_away()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A client has sent something."""
        super().data_received(data)
        if self._is_answering():
            self._awaited = None
        elif self._awaited is None:
            self._awaited = self.loop.time()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing()

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(self.patience / 2, self._look)

    def _look(self) -> None:
        """Throw the client away if it has done nothing since the last look."""
        unread = 0 if self._is_answering() else self.transport.get_write_buffer_size()
        reads_nothing = 0 < self._unread <= unread and self._seen is self.cycle
        begins_nothing = self._awaited is not None and self.loop.time() - self._awaited >= self.patience
        if reads_nothing or begins_nothing:
            self._throw_away()
            return
        self._unread, self._seen = unread, self.cycle
        self._look_later()

    def _throw_away(self) -> None:
        with suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self.transport.abort()


def patient(seconds: float, connections: int = PatientProtocol.most) -> type[PatientProtocol]:
    """The protocol with this patience, for so many connections at once."""
    return type("Patient", (PatientProtocol,), {"patience": seconds, "most": connections})
