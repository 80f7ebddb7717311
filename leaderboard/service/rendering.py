"""The site of a service.

Rendered by a worker when the board has changed, and no more often than it can afford.
"""

from datetime import timedelta
from pathlib import Path

from sqlalchemy import select, update

from leaderboard.board.board import Board, boards
from leaderboard.board.render import render_boards
from leaderboard.service.queue import now
from leaderboard.service.suite_intake import suite_of
from leaderboard.store.store import Store
from leaderboard.store.tables import SiteRow, SubmissionRow, SuiteRow

SITE = "site"
SHARE = 9  # a worker renders for a tenth of its time at most
EARLIEST = 2.0  # seconds between two renderings while there is something to score


def render_store(store: Store, site: Path, title: str) -> Path:
    """Render what may be shown of a store, and write each rank to its submission, where the API
    finds it.
    """
    suite_boards = boards(store.entries(withdrawn=True))
    with store.reading() as session:
        rows = session.scalars(
            select(SuiteRow).where(SuiteRow.standing != "private", SuiteRow.path.is_not(None))
        ).all()
    fingerprints = {board.suite.fingerprint for board in suite_boards}
    page = render_boards(
        suite_boards,
        site,
        [suite_of(row) for row in rows if row.fingerprint in fingerprints],
        title,
        service=True,
    )
    _keep_ranks(store, suite_boards)
    return page


def _keep_ranks(store: Store, found: list[Board]) -> None:
    ranks = [
        {
            "id": run.submission.id,
            "rank_low": row.rank[0] if row.rank else None,
            "rank_high": row.rank[1] if row.rank else None,
        }
        for board in found
        for row in (*board.rows, *board.superseded)
        for run in row.runs
        if (row.rank or (None, None)) != (run.submission.rank_low, run.submission.rank_high)
    ]
    if ranks:
        with store.writing() as session:
            session.execute(update(SubmissionRow), ranks)


def claim_rendering(store: Store, lease: float) -> int | None:
    """The revision of the board that this worker is to render within `lease` seconds, or None.

    Nothing changed, or another does it.
    """
    with store.reading() as session:
        state = session.scalars(select(SiteRow)).one()
        if state.revision == state.rendered or state.ready > now():
            return None
    with store.writing() as session:
        state = session.scalars(select(SiteRow).with_for_update()).one()
        if state.revision == state.rendered or state.ready > now():
            return None
        state.ready = now() + timedelta(seconds=lease)
        return state.revision


def renew_rendering(store: Store, lease: float) -> None:
    """Have `lease` seconds more."""
    with store.writing() as session:
        session.execute(update(SiteRow).values(ready=now() + timedelta(seconds=lease)))


def end_rendering(store: Store, revision: int | None) -> None:
    """Note that a revision was rendered; None: that it did not work.

    Whoever comes next may render again.
    """
    with store.writing() as session:
        state = session.scalars(select(SiteRow).with_for_update()).one()
        state.rendered, state.ready = state.rendered if revision is None else revision, now()
