"""The pages of the service.

The board as a worker rendered it, and the page where a team submits and watches.
"""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from sqlalchemy import select
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from leaderboard.service.rendering import SITE
from leaderboard.store.store import Store
from leaderboard.store.tables import SuiteRow
from lorweb_bench.reports.html import render


def add_pages(app: FastAPI, store: Store, title: str) -> None:
    """Add them; they come after everything else that has an address."""

    @app.get("/submit", response_class=HTMLResponse, include_in_schema=False)
    def submit() -> str:
        with store.reading() as session:
            rows = session.scalars(
                select(SuiteRow)
                .where(SuiteRow.accepting, SuiteRow.standing != "retired")
                .order_by(SuiteRow.name)
            ).all()
        return _page(
            "submit",
            "Submit",
            title,
            suites=rows,
            lead="Upload an archive, watch how it is scored, withdraw it.",
        )

    (store.folder / SITE).mkdir(exist_ok=True)
    waiting = _page("waiting", title, "Leaderboard")
    app.mount("/", Pages(store.folder / SITE, waiting))


class Pages(StaticFiles):
    """The rendered site, file by file as it is written.

    Before the first rendering a page that says so.
    """

    def __init__(self, folder: Path, waiting: str) -> None:
        super().__init__(directory=folder, html=True, check_dir=False)
        self.waiting = waiting
        self.folder = folder

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file of the site; hidden files, which it writes first, are not there."""
        if any(part.startswith(".") and part != "." for part in Path(path).parts):
            return HTMLResponse("Not found", 404)
        if (
            path in (".", "index.html")
            and scope["method"] in ("GET", "HEAD")
            and not (self.folder / "index.html").is_file()
        ):
            return HTMLResponse(self.waiting)
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = (
            "no-cache"  # it is asked for again, and answered 304 where it has not changed
        )
        return response


def _page(template: str, title: str, kicker: str, **context: Any) -> str:
    script = files("leaderboard").joinpath("board/page/submit.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    frame = {
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
        "boards": [],
        "galleries": {},
        "service": True,
        "root": "",
    }
    return render(
        f"{template}.html.j2",
        "leaderboard",
        "board/page",
        here=template,
        title=title,
        kicker=kicker,
        **frame,
        **context,
    )
