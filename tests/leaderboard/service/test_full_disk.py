"""A full disk under the commands and under the database.

Test_faults.py fills it under an upload, a worker and a rendering.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, func, select

from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow
from lorweb_bench.cli.main import main


def test_commands_on_a_full_disk(
    small_disk: Any, small_suite_path: Path, archives: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store, site = small_disk.folder / "store", small_disk.folder / "site"
    first, second = archives(2)

    def run(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as done:
            main(["leaderboard", *map(str, words)])
        return int(done.value.code or 0), capsys.readouterr().err

    add, render = (
        ("add", second, "--suite", small_suite_path, "--store", store),
        ("render", "--store", store, "-o", site),
    )
    assert run("add", first, *add[2:])[0] == 0 and run(*render)[0] == 0
    page = (site / "index.html").read_text()
    for left, command in ((0, add), (0, render), (32 * 1024, add)):
        small_disk.fill(left)
        code, said = run(*command)
        assert code == 2 and said.startswith("Error: ") and said.count("\n") == 1, said
        assert "No space left on device" in said or "disk is full" in said
        assert (site / "index.html").read_text() == page and len(Store(store).entries()) == 1
        small_disk.empty()
    assert (
        run(*add)[0] == 0
        and run(*render)[0] == 0
        and "method-1" in (site / "index.html").read_text()
    )


def test_a_full_disk_under_the_database(
    light_board: Store, service: Any, team: str, archives: Any, post: Callable[..., httpx.Response]
) -> None:
    """SQLite says what it says on a full disk.

    Once there is room again the same upload is taken.
    """
    (path,) = archives(1)
    full = [True]

    def fill(connection: sqlite3.Connection, *_: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages if full[0] else 2**30}")

    event.listen(light_board.database.engine, "checkout", fill)
    with service.client(team) as client:
        codes = set()
        for n in range(60):
            (one,) = archives(1, first=n)
            codes.add(post(client, light_board, one).status_code)
            if 503 in codes:
                break
        assert codes <= {202, 503} and 503 in codes
        before = jobs_in(light_board)
        full[0] = False
        assert (
            post(client, light_board, one).status_code == 202 and jobs_in(light_board) == before + 1
        )


def jobs_in(store: Store) -> int:
    with store.reading() as session:
        return session.scalar(select(func.count()).select_from(JobRow)) or 0
