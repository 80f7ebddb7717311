"""Serving the application: uvicorn, with bounds on connections that stand still or are too many.

uvicorn waits without end for the rest of a request, for a body that nobody wants and for a reader
that does not read. `BoundedProtocol` closes such connections. It stands between the socket and
uvicorn's own protocol and uses public interfaces alone: `asyncio.Protocol`, `uvicorn.Config`, and a
middleware that tells it when a request begins and ends.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = 15.0  # seconds that a request line and its headers may take
LINGER = 5.0  # seconds that an unread body is thrown away for, so that the answer arrives
STUCK = 60.0  # seconds that a reader may take nothing
CONNECTIONS = 1000
PER_ADDRESS = 100  # connections of one address; behind a proxy the proxy bounds them
KEEP_ALIVE = 15  # seconds between two requests
CLOSING = 30  # seconds that requests have to end when the server is stopped
LOOPBACK = ("127.0.0.1", "::1")  # a proxy on this machine speaks for everybody


@functools.cache
def _uvicorns_protocol() -> Callable[..., asyncio.Protocol]:
    """The protocol that uvicorn itself would choose; its configuration tells."""
    plain = uvicorn.Config(lambda: None, http="h11", ws="none", log_config=None)
    plain.load()
    return plain.http_protocol_class


CONNECTION: ContextVar["BoundedProtocol | None"] = ContextVar("connection", default=None)


class BoundedProtocol(asyncio.Protocol):
    """HTTP as uvicorn speaks it, on connections that are closed when they stand still.

    uvicorn makes one for each connection, with the keyword arguments of its own protocols.
    """

    headers_seconds, linger_seconds, stuck_seconds = HEADERS, LINGER, STUCK
    per_address = PER_ADDRESS
    _open: Counter[str] = Counter()

    def __init__(self, config: uvicorn.Config, **arguments: Any) -> None:
        self._inner = _uvicorns_protocol()(config=config, **arguments)
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._active = 0  # requests that the application works on
        self._address = ""

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request; close at once what one address has too many of."""
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else ""
        self._open[self._address] += 1
        self._inner.connection_made(transport)
        if self._address not in LOOPBACK and self._open[self._address] > self.per_address:
            transport.abort()
        self._close_in(self.headers_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers and the count."""
        self._close_in(None)
        self._reader_is_slow(False)
        self._open[self._address] -= 1
        if not self._open[self._address]:
            del self._open[self._address]
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on. The time for headers runs from their first byte, not from their last."""
        token = CONNECTION.set(self)
        try:
            self._inner.data_received(data)
        finally:
            CONNECTION.reset(token)
        if not self._active and self._closing is None:
            self._close_in(self.headers_seconds)

    def eof_received(self) -> bool | None:
        """The other side sends no more."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """The reader is slow: wait for it, but not without end."""
        self._inner.pause_writing()
        self._reader_is_slow(True)

    def resume_writing(self) -> None:
        """The reader took something."""
        self._reader_is_slow(False)
        self._inner.resume_writing()

    def request_begins(self) -> None:
        """The headers are whole: what the body may take is for the endpoint that reads it."""
        self._active += 1
        self._close_in(None)

    def request_ends(self, body_was_read: bool) -> None:
        """Once answered, the rest of a body is thrown away for a moment only."""
        self._active -= 1
        if not body_was_read:
            self._close_in(self.linger_seconds)

    def _reader_is_slow(self, slow: bool) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        self._stuck = (
            self._loop.call_later(self.stuck_seconds, self._transport.abort) if slow else None
        )

    def _close_in(self, seconds: float | None) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._closing = (
            None if seconds is None else self._loop.call_later(seconds, self._transport.close)
        )


class TellsConnection:
    """A middleware that tells a connection when one of its requests begins and ends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and watch whether its body was read to the end."""
        connection = CONNECTION.get()
        if connection is None or scope["type"] != "http":
            return await self.app(scope, receive, send)
        whole = not _has_body(scope)

        async def watched() -> Message:
            """Receive a message, and note when the body has come whole."""
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)
            return message

        connection.request_begins()
        try:
            return await self.app(scope, watched, send)
        finally:
            connection.request_ends(whole)


def _has_body(scope: Scope) -> bool:
    names = dict(scope["headers"])
    return b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0"


def settings(**changes: Any) -> dict[str, Any]:
    """How the service configures uvicorn; `changes` come on top."""
    plain: dict[str, Any] = {
        "http": BoundedProtocol,
        "ws": "none",
        "limit_concurrency": CONNECTIONS,
        "timeout_keep_alive": KEEP_ALIVE,
        "timeout_graceful_shutdown": CLOSING,
        "server_header": False,
        "log_level": "info",
    }
    return plain | changes


def serve(
    app: FastAPI,
    host: str,
    port: int,
    per_address: int = PER_ADDRESS,
    prepare_logs: Callable[[], None] = lambda: None,
) -> None:
    """Serve until stopped. Ctrl-C and SIGTERM let running requests end.

    Args:
        app: The application of `build`.
        host: The address to listen on.
        port: The port to listen on.
        per_address: Connections that one address may have; 0 is any number.
        prepare_logs: Called once uvicorn has set up its loggers.
    """
    BoundedProtocol.per_address = per_address or CONNECTIONS
    config = uvicorn.Config(app, host=host, port=port, **settings())
    prepare_logs()
    uvicorn.Server(config).run()
