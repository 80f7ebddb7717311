"""Shared by the service's tests.

A board that takes submissions, archives to submit, and the service running.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import select

from leaderboard.service.app import build
from leaderboard.service.sandbox import LOADED, Limits
from leaderboard.service.server import BoundedProtocol
from leaderboard.service.suite_intake import take
from leaderboard.service.uploads import Patience
from leaderboard.service.worker import Worker
from leaderboard.store.store import Store
from leaderboard.store.tables import SuiteRow
from leaderboard.store.teams import grant
from leaderboard.submission.submission import CARD, read_object
from lorweb_bench.data.dataset import Dataset

LIMITS = Limits(seconds=120.0)
QUICK = Patience(idle=1.0, slowest=1024, grace=3.0)


@pytest.fixture(scope="session", autouse=True)
def _forkserver() -> None:
    """The server that scoring processes are forked from, started once for all tests."""
    forkserver.set_forkserver_preload(LOADED)
    forkserver.ensure_running()


class QuickProtocol(BoundedProtocol):
    """The protocol of the server, less patient."""

    headers_seconds, linger_seconds, stuck_seconds = 1.0, 0.5, 2.0


class Running:
    """The service in a thread, on a port of 127.0.0.1.

    `stop` and `start` are a restart on the same port.
    """

    def __init__(self, store: Store, port: int) -> None:
        self.store, self.port = store, port
        self.address = f"http://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        app = build(self.store, "A board", QUICK)
        settings: dict[str, Any] = {
            "ws": "none",
            "limit_concurrency": 1000,
            "timeout_graceful_shutdown": 1,
            "log_level": "error",
        }
        self.server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=self.port, http=QuickProtocol, **settings)
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until(lambda: self.server.started)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    def client(self, token: str | None = None) -> httpx.Client:
        """A client with a team's token."""
        return httpx.Client(
            base_url=self.address,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=30,
        )


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until something is true, and give it back."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with contextlib.suppress(httpx.TransportError):
            if found := true():
                return found
        time.sleep(0.02)
    raise AssertionError(f"it did not come true within {seconds:.0f} s")


@pytest.fixture(scope="session")
def archives(
    good_zip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], list[Path]]:
    """So many valid submissions of different methods, with the images of copy-b."""
    folder = tmp_path_factory.mktemp("archives")

    def make(count: int, first: int = 0) -> list[Path]:
        return [
            renamed(good_zip, folder / f"method-{n}.zip", method=f"method-{n}")
            for n in range(first, first + count)
        ]

    return make


def renamed(archive: Path, path: Path, **fields: Any) -> Path:
    """A copy of an archive whose card has other fields, and whose manifest agrees with it."""
    if path.exists():
        return path
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith(".json"):
                content = read_object(data, entry.filename)
                if entry.filename == CARD:
                    content |= fields
                elif "method" in fields:
                    content["method"] = content["method"] | {"name": fields["method"]}
                data = json.dumps(content).encode()
            new.writestr(entry, data)
    return path


@pytest.fixture
def board(address: str | None, small_suite: Dataset, tmp_path: Path) -> Iterator[Store]:
    """A store that takes submissions to the small suite, which is private.

    On SQLite and on PostgreSQL.
    """
    store = Store(tmp_path / "store", address)
    take(store, small_suite, accepting=True)
    yield store
    store.database.engine.dispose()


@pytest.fixture
def light_board(small_suite: Dataset, tmp_path: Path) -> Iterator[Store]:
    """The same on SQLite alone, for what the database has no part in."""
    store = Store(tmp_path / "store")
    take(store, small_suite, accepting=True)
    yield store
    store.database.engine.dispose()


@pytest.fixture
def team(request: pytest.FixtureRequest) -> str:
    """The token of a team with a hundred submissions a day."""
    name = "board" if "board" in request.fixturenames else "light_board"
    return grant(request.getfixturevalue(name), "Team One", per_day=100)


@pytest.fixture
def service(request: pytest.FixtureRequest, port: Callable[[], int]) -> Iterator[Running]:
    """The service of the board, in a thread."""
    name = "board" if "board" in request.fixturenames else "light_board"
    running = Running(request.getfixturevalue(name), port())
    yield running
    running.stop()


@pytest.fixture
def score() -> Iterator[Callable[[Store], None]]:
    """Run a worker in this process until the queue is empty and the pages are current."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(store: Store, limits: Limits = LIMITS) -> None:
        Worker(store, limits).run(until_empty=True)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `lorweb-bench leaderboard …` as a process of its own; all are killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: object, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "lorweb_bench", "leaderboard", *map(str, words)]
        log = (tmp_path / f"{words[0]}-{len(started)}.log").open("wb")
        started.append(
            subprocess.Popen(
                command,
                env=os.environ | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class SmallDisk:
    """A file system of a few megabytes, which `fill` leaves so many bytes of."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.filler = folder, folder / "filler"

    def fill(self, left: int) -> None:
        space = os.statvfs(self.folder)
        self.filler.write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - left)))

    def empty(self) -> None:
        self.filler.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A real one in memory, where this user may mount it.

    Elsewhere the tests by limits on a file's size stand for it.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("this user may not mount a file system")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


def post(client: httpx.Client, store: Store, path: Path) -> httpx.Response:
    """Upload an archive to the only suite of a store."""
    with store.reading() as session:
        suite = session.scalars(select(SuiteRow.fingerprint)).one()
    return client.post(
        "/api/v1/submissions", params={"suite": suite, "name": path.name}, content=path.read_bytes()
    )


@pytest.fixture(name="post")
def _post() -> Callable[..., httpx.Response]:
    return post


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until


@pytest.fixture(name="renamed")
def _renamed() -> Callable[..., Path]:
    return renamed
