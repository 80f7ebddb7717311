"""The feed of a board: what is new on it, as Atom."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from markupsafe import escape

from leaderboard.board.board import Board
from leaderboard.board.rows import GROUP, Row
from lorweb_bench.runtime.files import write_atomic

NEWEST = 50  # entries of the feed
NEVER = "2000-01-01T00:00:00+00:00"


def write_feed(path: Path, title: str, boards: Sequence[Board]) -> Path:
    """The newest rows, the newest first. Addresses are relative, as the site may lie anywhere."""
    rows = [(board, row) for board in boards for row in board.rows]
    rows.sort(key=lambda pair: (_moment(pair[1]), pair[1].anchor), reverse=True)
    updated = _moment(rows[0][1]).isoformat() if rows else NEVER
    entries = "".join(_entry(board, row) for board, row in rows[:NEWEST])
    text = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<title>{escape(title)}</title>\n"
        f"<id>urn:lorweb-bench:board:{escape(title.encode().hex()[:40])}</id>\n"
        f'<updated>{updated}</updated>\n<link rel="self" href="feed.xml"/>\n'
        f'<link rel="alternate" href="index.html"/>\n{entries}</feed>\n'
    )
    write_atomic(path, text)
    return path


def _moment(row: Row) -> datetime:
    return row.decided


def _entry(board: Board, row: Row) -> str:
    score = row.score(GROUP, board.headline)
    digits = board.places[board.headline]
    result = f": {board.headline} {score.mean:.{digits}f} on {GROUP}" if score else ""
    name = f"{row.method} {row.entry.submission.version}".strip()
    digest = row.entry.submission.sha256
    suite = f"{board.suite.name} {board.suite.version}"
    return (
        f"<entry><title>{escape(name)} on {escape(suite)}</title>"
        f"<id>urn:sha256:{digest}</id><updated>{row.decided.isoformat()}</updated>"
        f"<author><name>{escape(row.team)}</name></author>"
        f'<link href="methods/{row.slug}.html#{row.anchor}"/>'
        f"<summary>{escape(f'{row.level}{result}')}</summary></entry>\n"
    )
