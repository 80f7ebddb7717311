"""Shared by the leaderboard's tests.

Predictions for the small suite, a card, and a packed submission.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from sqlalchemy import create_engine, make_url, text

from leaderboard.submission.submission import pack
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.scoring.evaluate import predict

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
EXAMPLE = Path(__file__).parents[2] / "docs/example-card.yaml"


@pytest.fixture(scope="session")
def example_card() -> dict[str, Any]:
    """The card in docs, parsed."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return content


@pytest.fixture
def write_card(example_card: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Write the example card with other fields."""

    def write(**fields: Any) -> Path:
        path = tmp_path / "card.yaml"
        path.write_text(yaml.safe_dump(example_card | fields, allow_unicode=True))
        return path

    return write


@pytest.fixture(scope="session")
def copies(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of copy-b for the small suite."""
    folder = tmp_path_factory.mktemp("predictions") / "copy-b"
    predict("copy-b", small_suite, folder)
    return folder


@pytest.fixture(scope="session")
def good_zip(copies: Path, small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """These packed with the card in docs."""
    return pack(copies, small_suite, EXAMPLE, tmp_path_factory.mktemp("packed") / "good.zip")


def lacking(what: str) -> None:
    """Skip for want of a program.

    Where everything has to run (`.ci/run` says so) that is a failure.
    """
    if os.environ.get("LORWEB_BENCH_CI"):
        pytest.fail(f"{what}, and LORWEB_BENCH_CI says that nothing may be skipped")
    pytest.skip(what)


@pytest.fixture(
    scope="module"
)  # not longer: while it runs, no other test of the process can start an event loop
def browser() -> Iterator["Browser"]:
    """Chromium, without a window. Skipped, or failed in CI, where there is none."""
    if not CHROMIUM.exists():
        lacking(f"there is no {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def axe() -> Callable[["Page"], list[str]]:
    """What axe finds on a page.

    Each violation of WCAG 2.1 A and AA and of its own best practices, in a line.
    """
    script = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    rules = {
        "runOnly": {
            "type": "tag",
            "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
        }
    }

    def violations(page: "Page") -> list[str]:
        page.evaluate(
            script
        )  # evaluated, not added as a tag: the page's policy lets no other script run
        found: dict[str, Any] = page.evaluate("rules => axe.run(document, rules)", rules)
        return [
            f"{one['id']}: {one['help']}, {len(one['nodes'])} times: "
            f"{one['nodes'][0]['html'][:200]}"
            for one in found["violations"]
        ]

    return violations


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def port() -> Callable[[], int]:
    """A free port of 127.0.0.1 each time that it is called."""
    return free_port


class Cluster:
    """A throw-away PostgreSQL cluster on 127.0.0.1.

    PostgreSQL refuses to run as root, so then it runs as its own user.
    """

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.as_user = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            if os.geteuid() == 0
            else []
        )
        self.folder = Path(tempfile.mkdtemp(prefix="lorweb-bench-postgres-"))
        if self.as_user:
            shutil.chown(self.folder, "postgres", "postgres")
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._run(
            "initdb",
            "-D",
            "data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        )
        self.start()

    def _run(self, program: str, *words: str) -> None:
        command = [*self.as_user, str(self.programs / program), *words]
        subprocess.run(
            command,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        """Start the server, on the same port each time."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
            "-c fsync=off -c max_connections=200"
        )
        self._run("pg_ctl", "-D", "data", "-o", options, "-l", "log", "-w", "start")

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        """Stop it and delete everything."""
        self.stop()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of our own, which a test may stop and start."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found += [Path(place) for place in [shutil.which("initdb")] if place]
    if not found:
        lacking("PostgreSQL is not installed")
    made = Cluster(found[-1].parent)
    yield made
    made.remove()


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty PostgreSQL database.

    Of the server that LORWEB_BENCH_TEST_POSTGRES names, else of our own.
    """
    server = make_url(
        os.environ.get("LORWEB_BENCH_TEST_POSTGRES") or request.getfixturevalue("cluster").url
    )
    engine = create_engine(
        server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    name = f"board_{secrets.token_hex(6)}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> str | None:
    """The database of a store: the SQLite file beside it, or a PostgreSQL database."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres"))
