"""Requests per second of the service, and what rendering takes, on boards of 10 to 10,000 entries.

    python benchmarks/leaderboard.py SUITE      # in the full view, such as photos-mini
    python benchmarks/leaderboard.py SUITE --sizes 10,1000 \
        --database postgresql://keeper@127.0.0.1/empty

Each board has as many methods on one suite, with the verdicts and the values by item that a real
submission has; all but the first are put into the database directly. A server runs for each board,
and the requests go to them in turn, so that what else the machine does meets all alike. Printed are
medians over the rounds, and how they change from the smallest board; rendering in seconds of the
processor, which others do not lengthen much, and by the clock.
"""

import argparse
import contextlib
import http.client
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # this file's own folder: `leaderboard` is the package, not this file

import numpy as np
from sqlalchemy import insert, make_url, select, text

from leaderboard.service.rendering import render_store
from leaderboard.service.suite_intake import take
from leaderboard.store.name_claims import skeleton
from leaderboard.store.store import Store
from leaderboard.store.tables import SubmissionRow, SuiteRow, VerdictRow
from leaderboard.store.teams import grant
from leaderboard.submission.submission import pack
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.reports.report import read_per_sample, write_per_sample
from lorweb_bench.scoring.evaluate import predict

CARD = Path(__file__).parents[1] / "docs/example-card.yaml"
VALUES = 40  # different tables of values by item, which the entries share
CHUNK = 500  # rows inserted at a time


def fill(store: Store, suite: Dataset, entries: int, folder: Path) -> None:
    """Put so many methods on the board of a suite.

    Copy-b, really submitted, and others that do a part of the change.
    """
    seed = {"recipe": {**(suite.manifest.recipe or {}), "seed": secrets.randbits(192) | 1 << 191}}
    suite = Dataset(suite.path, suite.manifest.model_copy(update=seed))  # as a private one has
    take(store, suite, accepting=True)
    predict("copy-b", suite, folder / "copies")
    store.add(pack(folder / "copies", suite, CARD, folder / "copies.zip"), suite)
    with store.reading() as session:
        row, verdict = (
            session.scalars(select(SubmissionRow)).one(),
            session.scalars(select(VerdictRow)).one(),
        )
        first = {
            c.name: getattr(row, c.name) for c in SubmissionRow.__table__.columns if c.name != "id"
        }
        last = {
            c.name: getattr(verdict, c.name) for c in VerdictRow.__table__.columns if c.name != "id"
        }
    values = [_values(store, str(last["per_sample"]), n) for n in range(min(VALUES, entries))]
    for start in range(2, entries + 1, CHUNK):
        ids = range(start, min(start + CHUNK, entries + 1))
        rows = [
            {
                **first,
                "id": i,
                "sha256": f"{i:064x}",
                "pixels": f"{i:064x}",
                "method": f"method-{i}",
                "name_key": skeleton(f"method-{i}"),
                "last_verdict": i,
            }
            for i in ids
        ]
        verdicts = [
            {
                **last,
                "id": i,
                "submission_id": i,
                **_verdict(last["verdict"], i, *values[i % len(values)]),
            }
            for i in ids
        ]
        with store.writing() as session:
            session.execute(insert(SubmissionRow), rows)
            session.execute(insert(VerdictRow), verdicts)


def _values(store: Store, per_sample: str, n: int) -> tuple[str, float]:
    """A table of values with another headline, and its mean on unseen."""
    table = read_per_sample(store.per_sample(per_sample))
    rng = np.random.default_rng(n)
    table["edit_recovery"] = np.clip(rng.normal(0.02 * n, 0.2, len(table["key"])), -1, 1)
    path = store.folder / f"values-{n}.parquet"
    write_per_sample(path, table)
    return store.keep_values(path), float(table["edit_recovery"][table["split"] == "unseen"].mean())


def _verdict(verdict: dict, i: int, per_sample: str, mean: float) -> dict:
    report = verdict["report"]
    scores = report["scores"] | {
        "unseen": report["scores"]["unseen"]
        | {"edit_recovery": report["scores"]["unseen"]["edit_recovery"] | {"mean": mean}}
    }
    report = report | {"scores": scores, "method": report["method"] | {"name": f"method-{i}"}}
    return {
        "verdict": verdict
        | {"report": report, "card": verdict["card"] | {"method": f"method-{i}"}},
        "per_sample": per_sample,
    }


@contextlib.contextmanager
def served(store: Store) -> Iterator[int]:
    """The service of a store in a process of its own; its port."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    where = [
        "--store",
        str(store.folder),
        "--port",
        str(port),
        *(["--database", store.url] if store.url else []),
    ]
    command = [sys.executable, "-m", "lorweb_bench", "leaderboard", "serve", *where]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def rate(port: int, path: str, token: str, requests: int) -> float:
    """Requests per second of one reader, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    started = time.perf_counter()
    for _ in range(requests):
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}")
    return requests / (time.perf_counter() - started)


def paths_of(store: Store) -> dict[str, str]:
    """What is asked for: name -> address."""
    with store.reading() as session:
        suite = session.scalars(select(SuiteRow.fingerprint)).one()
        newest = (
            session.scalars(select(SubmissionRow.id).order_by(SubmissionRow.id.desc())).first() or 0
        )
    return {
        "first page": "/",
        "a method's page": "/methods/copy-b.html",
        "entries, the first 50": f"/api/v1/entries?suite={suite}",
        "entries, the last 5": f"/api/v1/entries?suite={suite}&after={newest - 5}",
        "entries, one method": "/api/v1/entries?method=copy-b",
        "a team's submissions": "/api/v1/submissions",
        "health": "/api/v1/health",
    }


def measure(stores: dict[int, Store], rounds: int, requests: int) -> dict[str, dict[int, float]]:
    """Requests per second by what is asked for and by the size of the board.

    Medians over rounds that take turns.
    """
    with contextlib.ExitStack() as stack:
        tokens = {size: grant(store, "Readers") for size, store in stores.items()}
        ports = {size: stack.enter_context(served(store)) for size, store in stores.items()}
        found: dict[str, dict[int, list[float]]] = {}
        paths = {size: paths_of(store) for size, store in stores.items()}
        for size, port in ports.items():  # a server's first answers wait for what it imports
            for path in paths[size].values():
                rate(port, path, tokens[size], 2)
        for turn in range(rounds):
            for name in paths[min(paths)]:
                for size in sorted(stores, reverse=bool(turn % 2)):
                    found.setdefault(name, {}).setdefault(size, []).append(
                        rate(ports[size], paths[size][name], tokens[size], requests)
                    )
    medians: dict[str, dict[int, float]] = {}
    for name, of in found.items():
        medians[name] = {size: statistics.median(rates) for size, rates in of.items()}
    return medians


def row(name: str, cells: dict[int, str]) -> str:
    """A line of a table in Markdown."""
    return " | ".join(["", name, *cells.values(), ""]).strip()


def main() -> None:
    """Make the boards, render them, ask, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", type=Path)
    parser.add_argument("--sizes", default="10,100,1000,10000")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument(
        "--database", help="An empty PostgreSQL database; a schema is made for each board."
    )
    given = parser.parse_args()
    suite, sizes = open_suite(given.suite), [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[int, Store] = {}
        made: dict[int, str] = {}
        again: dict[int, str] = {}
        for size in sizes:
            place = Path(folder) / str(size)
            stores[size] = Store(
                place / "store", schema(given.database, size) if given.database else None
            )
            fill(stores[size], suite, size, place)
            for times in (made, again):
                started = time.process_time(), time.perf_counter()
                render_store(stores[size], stores[size].folder / "site", "A board")
                times[size] = (
                    f"{time.process_time() - started[0]:.1f} "
                    f"({time.perf_counter() - started[1]:.1f})"
                )
            print(
                f"{size} entries rendered in {made[size]} s, once more in {again[size]} s",
                file=sys.stderr,
            )
        rates = measure(stores, given.rounds, given.requests)
        pages = {
            size: (store.folder / "site/index.html").stat().st_size
            for size, store in stores.items()
        }
    print(row("", {size: f"{size:,} entries" for size in sizes}))
    print(row("---", dict.fromkeys(sizes, "---")))
    for name, of in rates.items():
        print(
            row(
                f"{name}, requests a second",
                {s: f"{r:.0f} ({r / of[sizes[0]]:.2f})" for s, r in of.items()},
            )
        )
    print(row("rendering all pages, seconds of the processor (by the clock)", made))
    print(row("rendering them again", again))
    print(row("first page, MB", {size: f"{size_ / 1e6:.2f}" for size, size_ in pages.items()}))


def schema(url: str, size: int) -> str:
    """The address of a schema of its own in a PostgreSQL database."""
    from sqlalchemy import create_engine

    address = make_url(url).set(drivername="postgresql+psycopg")
    with create_engine(address).begin() as connection:
        connection.execute(text(f"CREATE SCHEMA board_{size}"))
    return address.update_query_dict({"options": f"-csearch_path=board_{size}"}).render_as_string(
        hide_password=False
    )


if __name__ == "__main__":
    main()
