"""Commands of the service: leaderboard team, withdraw, log, serve, worker, submit.

Heavy modules are imported when a command runs.
"""

import json
from pathlib import Path
from typing import Any

import click

from leaderboard.service.options import (
    DATABASE,
    FOLDER,
    LOG_FORMAT,
    METRICS_PORT,
    STORE,
    TITLE,
    WAIT,
    open_store,
)
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import SUMMARY_GROUPS

SHOWN = ("edit_recovery", "retrieval")


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
        withdrawn_jobs = queue.withdraw(session, sha256, KEEPER)
    if not withdrawn_jobs:
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
@click.option("--team", metavar="NAME", help="All that this team did, and what came of it.")
def log(store: Path, database: str | None, subject: str | None, team: str | None) -> None:
    """Print the audit log, a JSON object a line: who did what, when."""
    from leaderboard.store.audit import read

    for line in read(open_store(store, database), subject, team):
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
@click.option(
    "--per-address",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Connections that one address may have; 0 behind a proxy, which bounds them.",
)
@WAIT
@LOG_FORMAT
@METRICS_PORT
def serve(
    store: Path,
    database: str | None,
    title: str,
    host: str,
    port: int,
    per_address: int,
    wait: float,
    log_format: str,
    metrics_port: int | None,
) -> None:
    """Serve the board: its pages, the page where teams submit, and the API.

    Needs a worker beside it.
    """
    from leaderboard.service.app import build
    from leaderboard.service.monitoring import log_to_stderr
    from leaderboard.service.server import serve as run

    app = build(open_store(store, database, create=True, wait=wait), title)
    if metrics_port is not None:
        app.state.metrics.serve(host, metrics_port)
    run(app, host, port, per_address, lambda: log_to_stderr(log_format == "json"))


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
@WAIT
@LOG_FORMAT
@METRICS_PORT
def worker(
    store: Path,
    database: str | None,
    title: str,
    seconds: float,
    memory: float,
    until_empty: bool,
    wait: float,
    log_format: str,
    metrics_port: int | None,
) -> None:
    """Score what was submitted, one after the other, each in a process with limits; then render.

    Stopped or killed, it loses nothing: the next worker takes up its job. Several may run.
    """
    from leaderboard.service.monitoring import Metrics, log_to_stderr
    from leaderboard.service.sandbox import Limits
    from leaderboard.service.worker import Worker

    log_to_stderr(log_format == "json")
    limits = Limits(seconds=seconds, cpu_seconds=int(2 * seconds), memory=int(memory * 2**30))
    opened = open_store(store, database, create=True, wait=wait)
    if metrics_port is not None:
        Metrics(opened).serve("127.0.0.1", metrics_port)
    Worker(opened, limits, title).run(until_empty)


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
@click.option(
    "--limit",
    type=click.FloatRange(0),
    default=86400.0,
    show_default=True,
    help="Seconds to wait for the verdict at most.",
)
def submit(
    submission: Path,
    address: str,
    token_file: Path | None,
    no_wait: bool,
    withdraw: bool,
    patience: float,
    limit: float,
) -> None:
    """Upload a submission to a board and wait for its verdict.

    Again: takes up the waiting. A refused one exits with 2.
    """
    from leaderboard.service.client import Client
    from lorweb_bench.runtime.files import sha256_file

    client = Client(address, _token(token_file), patience)
    if withdraw:
        answer = client.withdraw(sha256_file(submission))
        click.echo(f"{submission} is {answer['status']}.")
        return
    answer = client.submit(submission)
    if no_wait and answer["status"] in ("queued", "running"):
        click.echo(
            f"{submission} is {answer['status']}, with {answer['before'] or 0} before it. The same "
            "command without --no-wait waits."
        )
        return
    answer = client.wait(answer, lambda text: click.echo(text, err=True), limit)
    if answer["status"] in ("queued", "running"):
        raise InputError(
            f"{submission} is still {answer['status']} after {limit:g} seconds; the same command "
            "takes up the waiting."
        )
    _show(answer, submission, address)


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
    if verdict is None:
        click.echo(told["held"] or "It is accepted, and waits for the board's new answers.")
        return
    click.echo(f"Accepted, {verdict['level']}.")
    for group in reversed(SUMMARY_GROUPS):
        for metric in SHOWN:
            if score := verdict["scores"].get(group, {}).get(metric):
                interval = (
                    ""
                    if score["ci_low"] is None
                    else f"  [{score['ci_low']:g}, {score['ci_high']:g}]"
                )
                click.echo(f"  {group:12}{metric:16}{score['mean']:>8g}{interval}")
    if rank := verdict["rank"]:
        click.echo(
            f"Rank {rank[0]}{'' if rank[0] == rank[1] else f' to {rank[1]}'}, as of the last "
            "rendering."
        )
    click.echo(f"It stands at {address.rstrip('/')}{verdict['page']}.")


COMMANDS = (team, withdraw, log, serve, worker, submit)
