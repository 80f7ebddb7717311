"""What dies, fills up or goes away.

Nothing is lost, nothing is scored twice, and everything goes on when it is back.

A process that dies is a fork of this one that kills itself with SIGKILL at a given step.
"""

import concurrent.futures
import contextlib
import logging
import os
import resource
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import func, select

import leaderboard.service.queue
import leaderboard.service.submissions
import leaderboard.service.uploads
import leaderboard.service.worker
import leaderboard.store.database
import leaderboard.store.store
import leaderboard.store.tables
from leaderboard.service.app import build
from leaderboard.service.client import Client
from leaderboard.service.rendering import render_store
from leaderboard.service.sandbox import FULL, Limits
from leaderboard.service.server import BoundedProtocol
from leaderboard.service.suite_intake import take
from leaderboard.service.worker import Worker
from leaderboard.store.audit import read
from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SubmissionRow, VerdictRow
from leaderboard.store.teams import grant
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError

LEASE = 1.0
Step = tuple[Any, str, str]

# Each step of a worker's work: what is called there, and whether it dies before or after that.
WORKER: dict[str, Step] = {
    "claiming": (leaderboard.service.queue, "claim", "after"),
    "claimed": (Worker, "_score", "before"),
    "scoring": (leaderboard.service.worker, "start_scoring", "after"),
    "scored": (Worker, "_record", "before"),
    "values kept": (Store, "keep_values", "after"),
    "recording": (leaderboard.service.worker, "record", "after"),
    "recorded": (leaderboard.service.worker, "forget", "before"),
    "rendering": (leaderboard.service.worker, "start_rendering", "after"),
    "rendered": (leaderboard.service.worker, "end_rendering", "before"),
}
WEB: dict[str, Step] = {
    "receiving": (leaderboard.service.uploads.hashlib, "sha256", "before"),
    "received": (leaderboard.service.submissions, "_queued", "before"),
    "queueing": (leaderboard.service.queue, "enqueue", "after"),
    "named": (leaderboard.service.uploads.Received, "keep", "after"),
    "queued": (leaderboard.service.submissions, "_enqueued", "after"),
}


def dies(step: Step) -> None:
    """Replace a function by one that kills the process."""
    place, name, when = step
    whole = getattr(place, name)

    def deadly(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            whole(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, deadly)


def forked(work: Callable[[], None]) -> int:
    """Do something in a fork; its process id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        forkserver._forkserver.ensure_running = lambda: None  # it is its parent's
        work()
        code = 0
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for a process: its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def work(
    store: Store,
    step: Step | None = None,
    limits: Limits | None = None,
    lease: float = LEASE,
) -> Callable[[], None]:
    """A worker of a store, until the queue is empty, with short leases."""

    def run() -> None:
        if step:
            dies(step)
        Worker(Store(store.folder, store.url), limits or Limits(seconds=60), lease=lease).run(
            until_empty=True
        )

    return run


def web(
    store: Store, port: int, step: Step | None = None, file_bytes: int | None = None
) -> Callable[[], None]:
    """The service of a store on a port."""

    def run() -> None:
        if step:
            dies(step)
        app = build(Store(store.folder, store.url), "A board")
        if file_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        uvicorn.Server(
            uvicorn.Config(
                app, host="127.0.0.1", port=port, http=BoundedProtocol, ws="none", log_level="error"
            )
        ).run()

    return run


@pytest.fixture
def process() -> Iterator[Callable[[Callable[[], None]], int]]:
    """Start something in a fork; what still runs in the end is killed."""
    started: list[int] = []

    def start(work: Callable[[], None]) -> int:
        started.append(forked(work))
        return started[-1]

    yield start
    for pid in started:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def sound(store: Store, accepted: int) -> None:
    """So many submissions were accepted, each is there once with one verdict, and no file is left
    over.
    """
    with store.reading() as session:
        statuses = list(session.scalars(select(JobRow.status)))
        assert statuses == ["accepted"] * accepted
        assert session.scalar(select(func.count()).select_from(SubmissionRow)) == accepted
        assert session.scalar(select(func.count()).select_from(VerdictRow)) == accepted
        assert len(set(session.scalars(select(VerdictRow.job_id)))) == accepted
    assert len(store.entries()) == accepted and all(
        entry.archive.is_file() and entry.per_sample.is_file() for entry in store.entries()
    )
    assert (
        not list(store.folder.glob("uploads/*.zip"))
        and sum(line["action"] == "accepted" for line in read(store)) == accepted
    )


@pytest.fixture
def queued(light_board: Store, team: str, archives: Any) -> Store:
    """A board with two submissions waiting.

    It is closed here: what forks must not share a connection.
    """
    return waiting(light_board, archives(2))


def waiting(store: Store, paths: list[Path]) -> Store:
    from lorweb_bench.runtime.files import sha256_file

    (store.folder / "uploads").mkdir(exist_ok=True)
    suite = store_suite(store)
    with store.writing() as session:
        for path in paths:
            leaderboard.service.queue.enqueue(
                session, 1, suite, sha256_file(path), path.stat().st_size, path.name
            )
            store.upload(sha256_file(path)).write_bytes(path.read_bytes())
    store.database.engine.dispose()
    return store


def store_suite(store: Store) -> str:
    from leaderboard.store.tables import SuiteRow

    with store.reading() as session:
        return str(session.scalars(select(SuiteRow.fingerprint)).one())


@pytest.mark.parametrize("step", WORKER)
def test_a_worker_killed_at_each_step(step: str, queued: Store, process: Any) -> None:
    assert ended(process(work(queued, WORKER[step]))) == -signal.SIGKILL
    assert ended(process(work(queued))) == 0
    sound(queued, 2)
    assert all(f"method-{n}" in (queued.folder / "site/index.html").read_text() for n in range(2))


@pytest.mark.parametrize("step", WORKER)
def test_a_worker_killed_on_postgresql(
    step: str, postgres: str, small_suite: Dataset, archives: Any, process: Any, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store", postgres)
    take(store, small_suite, accepting=True)
    grant(store, "Team")
    waiting(store, archives(1))
    assert ended(process(work(store, WORKER[step]))) == -signal.SIGKILL
    assert ended(process(work(store))) == 0
    sound(store, 1)


@pytest.mark.parametrize("step", WEB)
def test_a_server_killed_at_each_step(
    step: str, board: Store, team: str, archives: Any, port: Any, process: Any
) -> None:
    """The client tries again until the server is back, and there is one submission."""
    (path,), number = archives(1), port()
    board.database.engine.dispose()
    killed = process(web(board, number, WEB[step]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending = pool.submit(Client(f"http://127.0.0.1:{number}", team, patience=60).submit, path)
        assert ended(killed) == -signal.SIGKILL
        process(web(board, number))
        told = sending.result()
    assert told["status"] == "queued" and ended(process(work(board))) == 0
    sound(board, 1)


def test_an_upload_during_a_restart(
    light_board: Store, service: Any, team: str, archives: Any, until: Any
) -> None:
    """Half an archive is on its way when the server stops: nothing is left of it.

    Sent again it is taken.
    """
    (path,) = archives(1)
    data = path.read_bytes()
    halves = threading.Event()

    def body() -> Iterator[bytes]:
        yield data[: len(data) // 2]
        halves.set()
        time.sleep(0.8)
        yield data[len(data) // 2 :]

    def send() -> int:
        with service.client(team) as client:
            try:
                return client.post(
                    "/api/v1/submissions",
                    params={"suite": store_suite(light_board)},
                    content=body(),
                ).status_code
            except httpx.TransportError:
                return 0

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        halves.wait(10)
        service.stop()
        service.start()
        assert sending.result() in (0, 202), "the old server ended it, or was too late"
    assert Client(service.address, team).submit(path)["status"] == "queued"
    with light_board.reading() as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 1
    until(lambda: [p.suffix for p in (light_board.folder / "uploads").iterdir()] == [".zip"])


def test_a_worker_that_is_stopped_puts_its_job_back(
    queued: Store, process: Any, until: Any
) -> None:
    running = process(work(queued))
    until(lambda: "running" in statuses(queued))
    os.kill(running, signal.SIGTERM)
    assert ended(running) == 0
    with queued.reading() as session:
        assert {job.status for job in session.scalars(select(JobRow))} <= {"queued", "accepted"}
        assert all(
            job.attempts == 0
            for job in session.scalars(select(JobRow).where(JobRow.status == "queued"))
        )
    queued.database.engine.dispose()
    assert ended(process(work(queued))) == 0
    sound(queued, 2)


def statuses(store: Store) -> list[str]:
    with store.reading() as session:
        return list(session.scalars(select(JobRow.status)))


def test_two_workers_share_the_work(
    light_board: Store, team: str, archives: Any, process: Any
) -> None:
    waiting(light_board, archives(6))
    longer_than_the_test = 600.0  # on a busy machine a short lease ends while its worker waits
    workers = [process(work(light_board, lease=longer_than_the_test)) for _ in range(2)]
    assert [ended(pid) for pid in workers] == [0, 0]
    sound(light_board, 6)
    assert sum(line["action"] == "started" for line in read(light_board)) == 6, (
        "none was started twice"
    )


def test_what_kills_its_worker_three_times_has_failed(
    light_board: Store, team: str, archives: Any, process: Any
) -> None:
    waiting(light_board, archives(1))
    for _ in range(3):
        assert ended(process(work(light_board, WORKER["scored"]))) == -signal.SIGKILL
    assert ended(process(work(light_board))) == 0
    with light_board.reading() as session:
        job = session.scalars(select(JobRow)).one()
        assert (
            job.status == "failed"
            and "died 3 times" in (job.reason or "")
            and light_board.entries() == []
        )
        used = leaderboard.service.queue.used_today(session, job.team)  # type: ignore[arg-type]
    assert used == 0, "it is not the team's fault"


@pytest.mark.parametrize(
    ("limits", "word"), [(Limits(seconds=0.05), "took longer"), (Limits(memory=2**26), "memory")]
)
def test_limits_on_time_and_memory(
    limits: Limits, word: str, light_board: Store, team: str, archives: Any, process: Any
) -> None:
    waiting(light_board, archives(1))
    assert ended(process(work(light_board, limits=limits))) == 0
    with light_board.reading() as session:
        job = session.scalars(select(JobRow)).one()
    assert job.status == "failed" and word in (job.reason or "")
    assert not list(light_board.folder.glob("incoming-*/*")) and not list(
        light_board.folder.glob("uploads/*")
    )


def test_a_full_disk_while_receiving(
    postgres: str,
    small_suite: Dataset,
    archives: Any,
    port: Any,
    process: Any,
    until: Any,
    tmp_path: Path,
) -> None:
    store, number, (path,) = Store(tmp_path / "store", postgres), port(), archives(1)
    take(store, small_suite, accepting=True)
    token = grant(store, "Team")
    store.database.engine.dispose()
    process(web(store, number, file_bytes=path.stat().st_size // 2))
    with httpx.Client(
        base_url=f"http://127.0.0.1:{number}", headers={"Authorization": f"Bearer {token}"}
    ) as client:
        until(lambda: client.get("/api/v1/health").status_code == 200)
        sent = client.post(
            "/api/v1/submissions", params={"suite": store_suite(store)}, content=path.read_bytes()
        )
        assert sent.status_code == 507 and "disk is full" in sent.json()["detail"]
        assert client.get("/api/v1/me").json()["left_today"] == 5
    assert not list((store.folder / "uploads").iterdir()) and statuses(store) == []


def test_a_full_disk_while_scoring(
    light_board: Store, team: str, archives: Any, process: Any, until: Any
) -> None:
    waiting(light_board, archives(1))
    running = process(work(light_board, limits=Limits(file_bytes=1000)))
    until(lambda: "put-back" in [line["action"] for line in read(light_board)])
    os.kill(running, signal.SIGTERM)
    ended(running)
    with light_board.writing() as session:
        job = session.scalars(select(JobRow)).one()
        assert (job.status, job.attempts) == ("queued", 0)
        job.ready = leaderboard.service.queue.now()
    light_board.database.engine.dispose()
    assert ended(process(work(light_board))) == 0
    sound(light_board, 1)


def logged(work: Callable[[], None], place: Path) -> Callable[[], None]:
    """The same work, which logs to a file and tries again at once."""

    def run() -> None:
        logging.basicConfig(
            filename=place, level=logging.INFO, force=True
        )  # in place of those of pytest
        leaderboard.service.worker.LATER = 0.2
        work()

    return run


@pytest.mark.parametrize("left", [0, 32 * 1024])
def test_a_small_disk_that_fills_up(
    left: int,
    small_disk: Any,
    small_suite: Dataset,
    archives: Any,
    port: Any,
    process: Any,
    until: Any,
    tmp_path: Path,
) -> None:
    """An upload, a worker and a rendering meet a full disk.

    Each says so, and goes on by itself when there is room again.
    """
    store, number, (path,), log = (
        Store(small_disk.folder / "store"),
        port(),
        archives(1),
        tmp_path / "log",
    )
    log.touch()
    take(store, small_suite, accepting=True)
    token = grant(store, "Team")
    suite = store_suite(store)
    store.database.engine.dispose()
    process(web(store, number))
    with httpx.Client(
        base_url=f"http://127.0.0.1:{number}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    ) as client:

        def send() -> httpx.Response:
            return client.post(
                "/api/v1/submissions", params={"suite": suite}, content=path.read_bytes()
            )

        until(lambda: client.get("/api/v1/health").status_code == 200)
        small_disk.fill(left)
        sent = send()
        assert sent.status_code == 507 and "disk is full" in sent.json()["detail"]
        assert (
            not list((store.folder / "uploads").glob("*"))
            and client.get("/api/v1/health").json()["database"] is True
        )
        small_disk.empty()
        assert send().status_code == 202
        small_disk.fill(left)
        working = process(logged(work(store), log))
        until(
            lambda: (
                "put back: the disk is full" in log.read_text()
                or "database or disk is full" in log.read_text()
            )
        )
        small_disk.empty()
        assert ended(working) == 0
        sound(store, 1)
        page = client.get("/").text
        assert "method-0" in page
        with store.writing() as session:
            leaderboard.store.tables.changed(session)
        store.database.engine.dispose()
        small_disk.fill(left)
        log.write_text("")
        rendering = process(logged(work(store), log))
        until(
            lambda: (
                "could not be rendered (the disk is full)" in log.read_text()
                or "database or disk is full" in log.read_text()
            )
        )
        assert client.get("/").text == page, "the last pages stay"
        small_disk.empty()
        assert ended(rendering) == 0 and client.get("/").text == page
        sound(store, 1)


def test_a_full_disk_while_rendering(
    light_board: Store,
    archives: Any,
    small_suite: Dataset,
    process: Any,
    until: Any,
    tmp_path: Path,
) -> None:
    """Where no file may be larger than a page is."""
    light_board.add(archives(1)[0], small_suite)
    light_board.database.engine.dispose()

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            render_store(Store(light_board.folder), tmp_path / "site", "A board")
        except OSError as e:
            os._exit(7 if e.errno in FULL else 1)

    assert ended(process(limited)) == 7 and not (tmp_path / "site/board.json").exists()
    assert not list((tmp_path / "site").rglob("*.tmp")), "nothing half is left"
    assert "method-0" in render_store(light_board, tmp_path / "site", "A board").read_text()


def test_postgresql_gone_and_back(
    cluster: Any,
    small_suite: Dataset,
    archives: Any,
    port: Any,
    process: Any,
    until: Any,
    tmp_path: Path,
) -> None:
    from sqlalchemy import create_engine, make_url, text

    server = make_url(cluster.url).set(drivername="postgresql+psycopg")
    with create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("CREATE DATABASE gone"))
    store = Store(
        tmp_path / "store", server.set(database="gone").render_as_string(hide_password=False)
    )
    take(store, small_suite, accepting=True)
    token, number, paths = grant(store, "Team", per_day=10), port(), archives(3)
    waiting(store, paths[:2])
    process(web(store, number))
    client = Client(f"http://127.0.0.1:{number}", token, patience=60)
    until(lambda: client.http.get("/api/v1/health").status_code == 200)
    running = process(work(store))
    until(lambda: "running" in statuses(store))
    store.database.engine.dispose()
    cluster.stop()
    assert client.http.get("/api/v1/health").json()["database"] is False
    assert client.http.get("/").status_code == 200, "the pages need no database"
    refused = client.http.get("/api/v1/entries")
    assert refused.status_code == 503 and refused.headers["retry-after"] == "5"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.submit, paths[2])
        time.sleep(1.5)
        cluster.start()
        told = sending.result()
    assert client.wait(told)["status"] == "accepted"
    assert ended(running) == 0 or ended(process(work(store))) == 0
    sound(store, 3)


def test_an_sqlite_file_that_is_locked(
    small_suite: Dataset,
    archives: Any,
    port: Any,
    process: Any,
    until: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaderboard.store.database, "WAIT", 0.1)
    store = Store(tmp_path / "store")
    take(store, small_suite, accepting=True)
    token, number, (path,) = grant(store, "Team"), port(), archives(1)
    store.database.engine.dispose()
    process(web(store, number))
    client = Client(f"http://127.0.0.1:{number}", token, patience=0)
    until(lambda: client.http.get("/api/v1/health").status_code == 200)
    with contextlib.closing(
        sqlite3.connect(store.folder / "board.sqlite", isolation_level=None)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        assert client.http.get("/api/v1/entries").status_code == 200, "reading goes on"
        with pytest.raises(InputError, match="database cannot be used"):
            client.submit(path)
        other.execute("ROLLBACK")
    assert client.submit(path)["status"] == "queued" and ended(process(work(store))) == 0
    sound(store, 1)
