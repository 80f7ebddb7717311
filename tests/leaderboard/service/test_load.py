"""Many at once: uploads of several teams beside readers, two workers behind them.

None is lost, none is scored twice.

The long run, 100 uploads beside 200 readers on both databases, is `pytest
tests/leaderboard/service/test_load.py -m slow -s`.
"""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from leaderboard.service.suite_intake import take
from leaderboard.store.audit import read
from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SubmissionRow, SuiteRow, VerdictRow
from leaderboard.store.teams import grant

PAGES = (
    "/",
    "/board.json",
    "/board.csv",
    "/submit",
    "/api/v1/entries",
    "/api/v1/suites",
    "/api/v1/health",
)
UPLOAD_SECONDS = 120.0


async def upload(address: str, token: str, suite: str, path: Path) -> tuple[int, float]:
    async with httpx.AsyncClient(
        base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=UPLOAD_SECONDS
    ) as client:
        started = time.monotonic()
        sent = await client.post(
            "/api/v1/submissions",
            params={"suite": suite, "name": path.name},
            content=path.read_bytes(),
        )
        return sent.status_code, time.monotonic() - started


async def reader(address: str, times: int) -> list[tuple[int, float]]:
    found = []
    async with httpx.AsyncClient(base_url=address, timeout=UPLOAD_SECONDS) as client:
        for n in range(times):
            started = time.monotonic()
            found.append(
                ((await client.get(PAGES[n % len(PAGES)])).status_code, time.monotonic() - started)
            )
    return found


async def rush(
    address: str, tokens: list[str], suite: str, paths: list[Path], readers: int, times: int
) -> tuple[list[Any], list[Any]]:
    uploads = [
        upload(address, tokens[n % len(tokens)], suite, path) for n, path in enumerate(paths)
    ]
    done = await asyncio.gather(*uploads, *(reader(address, times) for _ in range(readers)))
    return done[: len(paths)], [one for found in done[len(paths) :] for one in found]


def hold(
    store: Store,
    archives: Any,
    port: int,
    spawn: Any,
    until: Any,
    uploads: int,
    readers: int,
    times: int,
) -> str:
    """Do it, check everything, and say what it took."""
    tokens = [grant(store, f"Team {n}", per_day=uploads) for n in range(max(5, uploads // 5))]
    address, paths = f"http://127.0.0.1:{port}", archives(uploads)
    store.database.engine.dispose()
    where = ("--store", store.folder, *(("--database", store.url) if store.url else ()))
    spawn("serve", *where, "--port", port)
    for _ in range(2):
        spawn("worker", *where, OMP_NUM_THREADS="1")
    until(lambda: httpx.get(f"{address}/api/v1/health").status_code == 200)
    with store.reading() as session:
        suite = session.scalars(select(SuiteRow.fingerprint)).one()
    started = time.monotonic()
    sent, read_ = asyncio.run(rush(address, tokens, suite, paths, readers, times))
    received = time.monotonic() - started
    assert Counter(code for code, _ in sent) == {202: uploads}, "every upload was taken"
    assert {code for code, _ in read_} <= {200, 404}, "404: a page that is not rendered yet"
    until(lambda: not waiting(store), 60 + 5 * uploads)
    scored = time.monotonic() - started
    with store.reading() as session:
        assert Counter(session.scalars(select(JobRow.status))) == {"accepted": uploads}
        assert {
            session.scalar(select(func.count()).select_from(table))
            for table in (SubmissionRow, VerdictRow)
        } == {uploads}
    actions = Counter(
        (line["action"], line["subject"])
        for line in read(store)
        if line["action"] in ("started", "accepted")
    )
    assert len(actions) == 2 * uploads and set(actions.values()) == {1}, (
        "each was started once and ended once"
    )
    until(lambda: all(f"method-{n}<" in httpx.get(address).text for n in range(uploads)), 120)
    slowest = max(took for _, took in read_)
    typical = sorted(took for _, took in read_)[len(read_) // 2]
    return (
        f"{uploads} uploads beside {readers} readers: received in {received:.1f} s, scored in "
        f"{scored:.0f} s; "
        f"{len(read_)} pages read, median {1000 * typical:.0f} ms, slowest {slowest:.1f} s"
    )


def waiting(store: Store) -> int:
    with store.reading() as session:
        return (
            session.scalar(
                select(func.count())
                .select_from(JobRow)
                .where(JobRow.status.in_(("queued", "running")))
            )
            or 0
        )


def test_uploads_beside_readers(
    light_board: Store, archives: Any, port: Any, spawn: Any, until: Any
) -> None:
    hold(light_board, archives, port(), spawn, until, uploads=8, readers=30, times=3)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_hundred_uploads_beside_two_hundred_readers(
    database: str,
    request: Any,
    small_suite: Any,
    archives: Any,
    port: Any,
    spawn: Any,
    until: Any,
    tmp_path: Path,
) -> None:
    store = Store(
        tmp_path / "store", None if database == "sqlite" else request.getfixturevalue("postgres")
    )
    take(store, small_suite, accepting=True)
    print(
        f"\n{database}, {os.cpu_count()} cores: "
        f"{hold(store, archives, port(), spawn, until, uploads=100, readers=200, times=10)}"
    )
