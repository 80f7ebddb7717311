"""The service: the API by which teams submit, and the board's pages, which a worker has rendered.

This process never opens an archive and never sees a suite: it receives bytes, within bounds, and
reads the database.
"""

import shutil
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leaderboard.service import api_models, queue, submissions
from leaderboard.service.pages import add_pages
from leaderboard.service.server import TellsConnection
from leaderboard.service.shared import HEX, Service, Shared
from leaderboard.service.uploads import Patience
from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SuiteRow
from lorweb_bench import __version__

BEHIND = 3600.0  # seconds that a job waits before the service calls itself behind
Fingerprint = Annotated[str | None, Query(pattern=HEX, description="A suite's fingerprint.")]


def build(
    store: Store, title: str = "Leaderboard of visual analogies", patience: Patience | None = None
) -> FastAPI:
    """The application, to be served by uvicorn."""
    store.database.serve_many()
    app = FastAPI(
        title=title,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.service = Service(store, title, patience or Patience())
    app.add_exception_handler(DBAPIError, _no_database)
    app.add_exception_handler(PoolTimeout, _no_database)
    app.add_middleware(Hardened)
    app.add_middleware(TellsConnection)
    _add_public(app)
    app.include_router(submissions.router)
    add_pages(app, store, title)
    return app


class Hardened:
    """Headers that keep a browser from guessing, framing and telling, on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and the answer back with the headers."""

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(
                    {
                        "X-Content-Type-Options": "nosniff",
                        "X-Frame-Options": "DENY",
                        "Referrer-Policy": "no-referrer",
                    }
                )
                if scope["path"].startswith("/api/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self.app(scope, receive, hardened)


def _no_database(request: Request, error: Exception) -> JSONResponse:
    """The database is gone, busy or full: try again."""
    return JSONResponse(
        {"detail": "The database cannot be used at the moment; try again."},
        503,
        {"Retry-After": "5"},
    )


def _add_public(app: FastAPI) -> None:
    """What anybody may ask."""

    @app.get("/api/v1/health", responses={503: {"model": api_models.Health}})
    def health(service: Shared, response: Response) -> api_models.Health:
        """Whether the service works, and how long its queue is."""
        free = shutil.disk_usage(service.store.folder).free
        try:
            with service.store.reading() as session:
                counts = dict(
                    session.execute(
                        select(JobRow.status, func.count())
                        .where(JobRow.status.in_(queue.OPEN))
                        .group_by(JobRow.status)
                    ).all()
                )
                oldest = session.scalar(
                    select(func.min(JobRow.received)).where(JobRow.status.in_(queue.OPEN))
                )
        except (DBAPIError, PoolTimeout):
            response.status_code = 503
            return api_models.Health(
                status="the database cannot be used", database=False, disk_free_bytes=free
            )
        waited = (queue.now() - oldest).total_seconds() if oldest else 0.0
        behind = waited > BEHIND
        return api_models.Health(
            status="the queue is behind; is a worker running?" if behind else "ok",
            database=True,
            disk_free_bytes=free,
            queued=counts.get("queued", 0),
            running=counts.get("running", 0),
            oldest_seconds=round(waited, 1),
            behind=behind,
        )

    @app.get("/api/v1/suites")
    def suites(service: Shared) -> list[api_models.Suite]:
        """The suites of the board."""
        with service.store.reading() as session:
            return [
                api_models.suite(row)
                for row in session.scalars(
                    select(SuiteRow).order_by(SuiteRow.name, SuiteRow.version)
                )
            ]

    @app.get("/api/v1/entries", response_model=api_models.Entries)
    def entries(
        service: Shared,
        suite: Fingerprint = None,
        track: Annotated[str | None, Query(max_length=20)] = None,
        prompt_mode: Annotated[str | None, Query(max_length=20)] = None,
        method: Annotated[str | None, Query(max_length=200)] = None,
        after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> JSONResponse:
        """What is on the board, in the order of coming.

        `next` of one answer is `after` of the following question.
        """
        with service.store.reading() as session:
            filters = {"suite": suite, "track": track, "prompt_mode": prompt_mode, "method": method}
            return JSONResponse(api_models.entries(session, filters, after, limit))
