"""Serving the application: uvicorn, with a bound on how long a connection may say nothing whole."""

import asyncio
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS = 15.0  # seconds that a request line and its headers may take
LINGER = 5.0  # seconds that an unread body is thrown away for, so that the answer arrives
STUCK = 60.0  # seconds that a reader may take nothing
CONNECTIONS = 1000
KEEP_ALIVE = 15  # seconds between two requests
CLOSING = 30  # seconds that requests have to end when the server is stopped


class BoundedProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, that closes what stands still: half a request, a body that nobody wants, a reader that does not read.

    uvicorn itself waits for these without end; what a body may take is for the endpoint that reads it.
    """

    headers_seconds, linger_seconds, stuck_seconds = HEADERS, LINGER, STUCK
    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait(self.headers_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._wait(None)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Wait on while the headers are not whole. The time runs from their first byte, not from their last."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            if self.conn.our_state is not h11.DONE:
                self._wait(None)
        elif self._late is None:
            self._wait(self.headers_seconds)

    def on_response_complete(self) -> None:
        """Once answered, the rest of a body is thrown away for a moment only."""
        unread = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if unread:
            self._wait(self.linger_seconds)

    def pause_writing(self) -> None:
        """The reader is slow: wait for it, but not without end."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self.stuck_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader took something."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        if self.flow is not None:
            super().resume_writing()

    def _wait(self, seconds: float | None) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = (
            None if seconds is None else self.loop.call_later(seconds, self.transport.close)
        )


def serve(app: FastAPI, host: str, port: int, log_level: str = "info") -> None:
    """Serve until stopped. Ctrl-C and SIGTERM let running requests end."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BoundedProtocol,
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=CLOSING,
        server_header=False,
        log_level=log_level,
    )
    uvicorn.Server(config).run()
