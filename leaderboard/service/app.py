"""The service: the API by which teams submit, and the board's pages, which a worker has rendered.

This process never opens an archive and never sees a suite: it receives bytes, within bounds, and
reads the database.
"""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.middleware.gzip import GZipMiddleware

from leaderboard.service import api_models, submissions
from leaderboard.service.middleware import Hardened
from leaderboard.service.monitoring import Metrics, health_of
from leaderboard.service.pages import add_pages
from leaderboard.service.server import TellsConnection
from leaderboard.service.shared import HEX, Service, Shared
from leaderboard.service.uploads import Patience, Shares
from leaderboard.store.store import Store
from leaderboard.store.tables import SuiteRow
from lorweb_bench import __version__

Fingerprint = Annotated[str | None, Query(pattern=HEX, description="A suite's fingerprint.")]


def build(
    store: Store,
    title: str = "Leaderboard of visual analogies",
    patience: Patience | None = None,
    shares: Shares | None = None,
) -> FastAPI:
    """The application, to be served by uvicorn.

    Args:
        store: The board's store.
        title: The title of the board.
        patience: How slow an upload may be.
        shares: What one team or address may have of the service.
    """
    store.database.serve_many()
    app = FastAPI(
        title=title,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,  # a redirect would be made from the Host that a stranger names
    )
    service = Service(store, title, patience or Patience(), shares or Shares())
    app.state.service = service
    app.state.metrics = Metrics(store, service.shares)
    app.add_exception_handler(DBAPIError, _no_database)
    app.add_exception_handler(PoolTimeout, _no_database)
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(Hardened, observe=app.state.metrics.observe)
    app.add_middleware(TellsConnection)
    _add_public(app)
    app.include_router(submissions.router)
    add_pages(app, store, title)
    return app


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
    def health(service: Shared, response: Response, strict: bool = False) -> api_models.Health:
        """Whether the service works: database, disk, queue and workers.

        503 where the database cannot be used; with `strict` also for every other problem.
        """
        state = health_of(service.store, service.shares)
        if not state.database or (strict and state.problems):
            response.status_code = 503
        return state

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

    @app.get("/api/v1/queue")
    def public_queue(service: Shared) -> list[api_models.Waiting]:
        """What waits to be scored; then what was refused, failed or was withdrawn."""
        with service.store.reading() as session:
            return api_models.public_queue(session)

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
