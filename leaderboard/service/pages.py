"""The pages of the service.

The board as a worker rendered it, and the page where a team submits and watches.
"""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from markupsafe import Markup
from sqlalchemy import select
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from leaderboard.service import api_models
from leaderboard.service.middleware import page_policy
from leaderboard.service.rendering import SITE
from leaderboard.store.store import Store
from leaderboard.store.tables import SuiteRow
from lorweb_bench.protocol import NEW_TO_BASE, SEEN_TIERS, UNSEEN_TIERS
from lorweb_bench.reports.html import render

# The columns of scores where a team sees its submissions, and the tiers that each is the mean of.
SCORE_COLUMNS = {"unseen": UNSEEN_TIERS, NEW_TO_BASE: (), "seen": SEEN_TIERS}


def add_pages(app: FastAPI, store: Store, title: str) -> None:
    """Add the pages to a service, after everything else that has an address.

    Args:
        app: The service, with its API.
        store: The store whose rendered site is given out; its folder for it is made.
        title: The name of the board, which stands over every page.
    """
    policy = page_policy("submit.js", connect="'self'")

    @app.get("/submit", response_class=HTMLResponse, include_in_schema=False)
    def submit() -> HTMLResponse:
        """The page on which an archive is uploaded."""
        with store.reading() as session:
            rows = session.scalars(
                select(SuiteRow)
                .where(SuiteRow.accepting, SuiteRow.standing != "retired")
                .order_by(SuiteRow.name)
            ).all()
        page = _page(
            "submit",
            "Submit",
            title,
            script="submit.js",
            suites=rows,
            columns=SCORE_COLUMNS,
            lead="Upload an archive, watch how it is scored, withdraw it.",
        )
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.get("/queue", response_class=HTMLResponse, include_in_schema=False)
    def queue() -> HTMLResponse:
        """The page of the submissions that wait or ended off the board."""
        with store.reading() as session:
            lines = api_models.public_queue(session)
        still = [line for line in lines if line.finished is None]
        ended = [line for line in lines if line.finished is not None]
        lead = "What waits to be scored, and what did not come on the board."
        page = _page("queue", "Queue", title, open=still, ended=ended, lead=lead)
        return HTMLResponse(page, headers={"Content-Security-Policy": page_policy("board.js")})

    (store.folder / SITE).mkdir(exist_ok=True)
    waiting = _page("waiting", title, "Leaderboard")
    missing = _page("missing", "Not found", title, root="/")
    app.mount("/", Pages(store.folder / SITE, waiting, missing))


class Pages(StaticFiles):
    """The rendered site, file by file as it is written.

    Args:
        folder: The folder that workers render the site to.
        waiting: The page, as HTML, that is given out until it is rendered for the first time.
        missing: The page, as HTML, for addresses that lead nowhere.
    """

    def __init__(self, folder: Path, waiting: str, missing: str) -> None:
        super().__init__(directory=folder, html=True, check_dir=False)
        self.waiting, self.missing = waiting, missing
        self.policy = {"Content-Security-Policy": page_policy("board.js")}
        self.folder = folder

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file of the site; hidden files, which it writes first, are not there."""
        hidden = any(part.startswith(".") and part != "." for part in Path(path).parts)
        if scope["path"].startswith("/api/") or hidden:
            return self._missing(scope)
        index = self.folder / "index.html"
        if path in (".", "index.html") and scope["method"] == "GET" and not index.is_file():
            return HTMLResponse(self.waiting, headers=self.policy)
        try:
            response = await super().get_response(path, scope)
        except HTTPException as e:
            if e.status_code != 404:
                raise
            return self._missing(scope)
        if response.status_code in (301, 302, 307, 308, 404):  # never to a Host that was named
            return self._missing(scope)
        # It is asked for again, and answered 304 where it has not changed.
        response.headers["Cache-Control"] = "no-cache"
        response.headers.update(self.policy)
        return response

    def _missing(self, scope: Scope) -> Response:
        """That there is nothing: a page for people, JSON for programs."""
        if scope["path"].startswith("/api/"):
            return JSONResponse({"detail": "The API has nothing at this address."}, 404)
        return HTMLResponse(self.missing, 404, self.policy)


def _page(template: str, title: str, kicker: str, script: str = "board.js", **context: Any) -> str:
    text = files("leaderboard").joinpath(f"board/page/{script}").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    frame = {
        "script": Markup(text),
        "script_hash": f"sha256-{digest}",
        "boards": [],
        "galleries": {},
        "service": True,
        "root": "",
    }
    names = {"here": template, "title": title, "kicker": kicker}
    return render(f"{template}.html.j2", "leaderboard", "board/page", **frame | names | context)
