"""What every answer of the service goes through: headers, HEAD, and requests with two lengths."""

import base64
import hashlib
import time
from collections.abc import Callable
from importlib.resources import files

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PRIVATE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# What other pages and programs may read: the board, which says nothing of who asks.
OPEN_TO_ALL = (
    "/board.json",
    "/board.csv",
    "/feed.xml",
    "/badges/",
    "/records/",
    "/api/v1/entries",
    "/api/v1/suites",
    "/api/v1/queue",
    "/api/v1/health",
)
Observe = Callable[[str, int, float], None]


def page_policy(script: str, connect: str = "'none'") -> str:
    """The content security policy of a page with one script, which is known by its digest."""
    text = files("leaderboard").joinpath(f"board/page/{script}").read_bytes()
    digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
        f"connect-src {connect}; script-src 'sha256-{digest}'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    )


class Hardened:
    """Headers on every answer, HEAD for whatever GET has, and one length for every request.

    The headers keep a browser from guessing, framing and telling. A request that has both a
    Content-Length and a Transfer-Encoding is refused: two servers in a row could take its end for
    different places.

    Args:
        app: What answers.
        observe: Told of each answer: the method, the status and the seconds that it took.
    """

    def __init__(self, app: ASGIApp, observe: Observe = lambda *_: None) -> None:
        self.app, self.observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and the answer back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, head = time.monotonic(), scope["method"] == "HEAD"
        method = scope["method"]

        async def hardened(message: Message) -> None:
            """Send a message of the answer with the headers that protect the reader."""
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), scope["path"])
                self.observe(method, message["status"], time.monotonic() - started)
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if _has_two_lengths(scope):
            refusal = JSONResponse(
                {"detail": "A request has a Content-Length or a Transfer-Encoding, not both."},
                400,
                {"Connection": "close"},
            )
            await refusal(scope, receive, hardened)
            return
        inner = {**scope, "method": "GET"} if head else scope
        await self.app(inner, receive, hardened)


def _has_two_lengths(scope: Scope) -> bool:
    names = [name for name, _ in scope["headers"]]
    lengths = names.count(b"content-length") + names.count(b"transfer-encoding")
    return lengths > 1


def _add_headers(headers: MutableHeaders, path: str) -> None:
    plain = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
    }
    headers.update(plain)
    headers.setdefault("Content-Security-Policy", PRIVATE)
    if path.startswith("/api/"):
        headers["Cache-Control"] = "no-store"
    if path.startswith(OPEN_TO_ALL):
        headers["Access-Control-Allow-Origin"] = "*"
