"""Commands of the service: leaderboard team, withdraw, log, serve, worker, submit.

Heavy modules are imported when a command runs.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorweb_bench.errors import InputError

if TYPE_CHECKING:
    from leaderboard.store.store import Store

FOLDER = click.Path(path_type=Path)
STORE = click.option("--store", required=True, type=FOLDER, help="The store's folder.")
DATABASE = click.option(
    "--database",
    envvar="LORWEB_BENCH_DATABASE",
    metavar="URL",
    help=(
        "A PostgreSQL database, as postgresql://user@host/name; by default SQLite in the store. "
        "Also LORWEB_BENCH_DATABASE."
    ),
)
TITLE = click.option(
    "--title",
    default="Leaderboard of visual analogies",
    show_default=True,
    help="The title of the board.",
)
SHOWN = ("edit_recovery", "retrieval")


def open_store(store: Path, database: str | None, create: bool = False) -> "Store":
    """The store of a service. InputError where it is not there and is not to be made."""
    from leaderboard.store.store import Store

    return Store(store, database, create=create)


@click.command()
@click.argument("name")
@STORE
@DATABASE
@click.option(
    "--per-day", type=click.IntRange(0), help="Submissions a day, UTC.  [default: 5 for a new team]"
)
@click.option(
    "-o",
    "--output",
    type=FOLDER,
    metavar="FILE",
    help="Write the token to a file that only you can read, not to the terminal.",
)
@click.option("--revoke", is_flag=True, help="Refuse the team's token from now on.")
def team(
    name: str,
    store: Path,
    database: str | None,
    per_day: int | None,
    output: Path | None,
    revoke: bool,
) -> None:
    """Make a team that may submit, and its token; again: a new token.

    It is shown once, the store keeps a hash.
    """
    from leaderboard.store import teams

    opened = open_store(store, database, create=not revoke)
    if revoke:
        teams.revoke(opened, name)
        click.echo(f"The token of {name} is refused from now on.")
        return
    if output is not None and output.exists():
        raise InputError(f"{output} exists; name a new file with -o.")
    token = teams.grant(opened, name, per_day)
    if output is None:
        click.echo(token)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch(mode=0o600)
        output.write_text(token + "\n")
        click.echo(f"The token of {name} is in {output}.")


@click.command()
@click.argument("submission", metavar="SUBMISSION.zip|SHA256")
@STORE
@DATABASE
def withdraw(submission: str, store: Path, database: str | None) -> None:
    """Take a submission, by its archive or its sha256, off the board and out of the queue, and
    delete its images.
    """
    from leaderboard.service import queue
    from leaderboard.service.worker import forget
    from leaderboard.store.audit import KEEPER
    from lorweb_bench.runtime.files import sha256_file

    opened = open_store(store, database)
    sha256 = sha256_file(submission) if Path(submission).is_file() else submission
    with opened.writing() as session:
        found = queue.withdraw(session, sha256, KEEPER)
    if not found:
        raise InputError(
            f"{store} has no submission {submission!r} that is waiting or on the board; name its "
            "archive or its sha256."
        )
    forget(opened, sha256)
    click.echo(f"{sha256[:12]} is withdrawn; the next rendering shows the board without it.")


@click.command()
@STORE
@DATABASE
@click.option(
    "--subject", metavar="NAME", help="Only what was done to this team, suite or submission."
)
def log(store: Path, database: str | None, subject: str | None) -> None:
    """Print the audit log, a JSON object a line: who did what, when."""
    from leaderboard.store.audit import read

    for line in read(open_store(store, database), subject):
        click.echo(json.dumps(line, ensure_ascii=False))


@click.command()
@STORE
@DATABASE
@TITLE
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on.",
)
def serve(store: Path, database: str | None, title: str, host: str, port: int) -> None:
    """Serve the board: its pages, the page where teams submit, and the API.

    Needs a worker beside it.
    """
    from leaderboard.service.app import build
    from leaderboard.service.server import serve as run

    run(build(open_store(store, database, create=True), title), host, port)


@click.command()
@STORE
@DATABASE
@TITLE
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=1800.0,
    show_default=True,
    help="What scoring one submission may take.",
)
@click.option(
    "--memory",
    type=click.FloatRange(0.5),
    default=8.0,
    show_default=True,
    help="GiB that it may use.",
)
@click.option(
    "--until-empty", is_flag=True, help="End once everything is scored and the pages show it."
)
def worker(
    store: Path, database: str | None, title: str, seconds: float, memory: float, until_empty: bool
) -> None:
    """Score what was submitted, one after the other, each in a process with limits.

    Then render the board.

    Stopped or killed, it loses nothing: the next worker takes up its job. Several may run.
    """
    import logging

    from leaderboard.service.sandbox import Limits
    from leaderboard.service.worker import Worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    limits = Limits(seconds=seconds, cpu_seconds=int(2 * seconds), memory=int(memory * 2**30))
    Worker(open_store(store, database, create=True), limits, title).run(until_empty)


@click.command()
@click.argument("submission", metavar="SUBMISSION.zip", type=FOLDER)
@click.option(
    "--to",
    "address",
    required=True,
    metavar="ADDRESS",
    help="The board, as https://board.example.org.",
)
@click.option(
    "--token-file",
    type=FOLDER,
    help="A file with your team's token; without it LORWEB_BENCH_TOKEN.",
)
@click.option(
    "--no-wait",
    is_flag=True,
    help="End once it is uploaded; the same command later shows the verdict.",
)
@click.option("--withdraw", is_flag=True, help="Withdraw this archive instead.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    help="Seconds to go on while there is no answer.",
)
def submit(
    submission: Path,
    address: str,
    token_file: Path | None,
    no_wait: bool,
    withdraw: bool,
    patience: float,
) -> None:
    """Upload a submission to a board and wait for its verdict.

    Again: takes up the waiting. A refused one exits with 2.
    """
    from leaderboard.service.client import Client
    from lorweb_bench.runtime.files import sha256_file

    client = Client(address, _token(token_file), patience)
    if withdraw:
        told = client.withdraw(sha256_file(submission))
        click.echo(f"{submission} is {told['status']}.")
        return
    told = client.submit(submission)
    if no_wait and told["status"] in ("queued", "running"):
        click.echo(
            f"{submission} is {told['status']}, with {told['before'] or 0} before it. The same "
            "command without --no-wait waits."
        )
        return
    _show(client.wait(told), submission, address)


def _token(file: Path | None) -> str:
    import os

    if file is None:
        token = os.environ.get("LORWEB_BENCH_TOKEN", "")
        if not token:
            raise InputError(
                "There is no token: name its file with --token-file, or set LORWEB_BENCH_TOKEN."
            )
    else:
        try:
            token = file.read_text()
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(
                f"{file} cannot be read ({e}); it should hold the token of your team."
            ) from None
    token = token.strip()
    if not token.isascii() or not token.isprintable() or len(token) > 200:
        raise InputError(f"{file or 'LORWEB_BENCH_TOKEN'} does not hold a token.")
    return token


def _show(told: dict[str, Any], submission: Path, address: str) -> None:
    if told["status"] != "accepted":
        raise InputError(
            f"{submission} is {told['status']}: {told['reason'] or 'no reason was given.'}"
        )
    verdict = told["verdict"]
    click.echo(f"Accepted, {verdict['level']}.")
    for group in ("seen", "unseen"):
        for metric in SHOWN:
            if score := verdict["scores"].get(group, {}).get(metric):
                interval = (
                    ""
                    if score["ci_low"] is None
                    else f"  [{score['ci_low']:g}, {score['ci_high']:g}]"
                )
                click.echo(f"  {group:8}{metric:16}{score['mean']:>8g}{interval}")
    if rank := verdict["rank"]:
        click.echo(
            f"Rank {rank[0]}{'' if rank[0] == rank[1] else f' to {rank[1]}'}, as of the last "
            "rendering."
        )
    click.echo(f"It stands at {address.rstrip('/')}{verdict['page']}.")


COMMANDS = (team, withdraw, log, serve, worker, submit)
