"""The keeper's commands: teams, queue, submissions, and what is done to them; backups."""

import json
from pathlib import Path
from typing import Any

import click

from leaderboard.service.options import DATABASE, FOLDER, STORE, open_store

JSON = click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")


def _print(lines: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    if as_json:
        for line in lines:
            click.echo(json.dumps(line, ensure_ascii=False))
        return
    if not lines:
        click.echo(nothing)
        return
    names = list(lines[0])
    rows = [names]
    for line in lines:
        rows.append([str(line[name]) for name in names])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@click.command()
@STORE
@DATABASE
@JSON
def teams(store: Path, database: str | None, as_json: bool) -> None:
    """List the teams: quota, what is used of it today, what waits, what stands."""
    from leaderboard.service.admin import list_teams

    lines = list_teams(open_store(store, database))
    _print(lines, as_json, "There is no team; `lorweb-bench leaderboard team` makes one.")


@click.command("set-team")
@click.argument("name")
@STORE
@DATABASE
@click.option("--rename", metavar="NAME", help="Its new name; what it submitted stays its own.")
@click.option("--per-day", type=click.IntRange(0), help="Submissions a day, UTC.")
@click.option(
    "--releases",
    type=click.IntRange(0),
    help="Submissions to a private suite whose scores are told.",
)
@click.option(
    "--block/--unblock", "blocked", default=None, help="Turn it away, or let it in again."
)
def set_team(name: str, store: Path, database: str | None, **changes: Any) -> None:
    """Rename a team, change its quota, block it. Its token stays what it is."""
    from leaderboard.store.teams import change
    from lorweb_bench.errors import InputError

    if all(value is None for value in changes.values()):
        raise InputError("Say what to change: --rename, --per-day, --releases, --block, --unblock.")
    change(open_store(store, database), name, **changes)
    click.echo(f"{changes['rename'] or name} is changed.")


@click.command()
@STORE
@DATABASE
@click.option("--all", "everything", is_flag=True, help="Also what has ended.")
@JSON
def queue(store: Path, database: str | None, everything: bool, as_json: bool) -> None:
    """List what waits to be scored, and who scores it."""
    from leaderboard.service.admin import list_queue

    _print(list_queue(open_store(store, database), everything), as_json, "Nothing waits.")


@click.command()
@STORE
@DATABASE
@click.option("--team", metavar="NAME", help="Only what this team owns.")
@click.option("--flagged", is_flag=True, help="Only what should be looked at.")
@JSON
def submissions(
    store: Path, database: str | None, team: str | None, flagged: bool, as_json: bool
) -> None:
    """List what was accepted: whose it is, how it stands, whether its scores are held."""
    from leaderboard.service.admin import list_submissions

    lines = list_submissions(open_store(store, database), team, flagged)
    _print(lines, as_json, "There is no such submission.")


@click.command()
@click.argument("submission", metavar="SHA256")
@STORE
@DATABASE
@click.option("--team", metavar="NAME", help="The new owner; without it the keeper.")
def move(submission: str, store: Path, database: str | None, team: str | None) -> None:
    """Give a submission, and all with the same method's name, another owner."""
    from leaderboard.service.admin import move as run

    method = run(open_store(store, database), submission, team)
    click.echo(f"{method} belongs to {team or 'the keeper'} now.")


@click.command("edit-card")
@click.argument("submission", metavar="SHA256")
@click.argument("card", metavar="CARD.yaml", type=FOLDER)
@STORE
@DATABASE
def edit_card(submission: str, card: Path, store: Path, database: str | None) -> None:
    """Put another card in the place of a submission's: authors, links, words, its name."""
    from leaderboard.service.admin import edit_card as run
    from leaderboard.submission.card import read_card

    run(open_store(store, database), submission, read_card(card))
    click.echo(f"{submission[:12]} has the card {card}; the next rendering shows it.")


@click.command()
@click.argument("ticket", metavar="TICKET|SHA256")
@STORE
@DATABASE
def requeue(ticket: str, store: Path, database: str | None) -> None:
    """Put a job that failed, was refused or hangs back into the queue."""
    from leaderboard.service.admin import requeue as run

    before = run(open_store(store, database), ticket)
    click.echo(f"{ticket} was {before}, and waits again.")


@click.command()
@STORE
@DATABASE
@click.option(
    "-o", "--output", required=True, type=FOLDER, metavar="FILE.tar", help="The file to write."
)
def backup(store: Path, database: str | None, output: Path) -> None:
    """Write the board into one file, database and archives, while it runs."""
    from leaderboard.store.backup import back_up

    counts = back_up(open_store(store, database), output)
    click.echo(
        f"{output}: {counts['submissions']} submissions, {counts['verdicts']} verdicts, "
        f"{counts['files']} files, {output.stat().st_size / 1e6:.1f} MB."
    )


@click.command()
@click.argument("backup", metavar="FILE.tar", type=FOLDER)
@STORE
@DATABASE
def restore(backup: Path, store: Path, database: str | None) -> None:
    """Make a new store of a backup; its database may be another kind than it was."""
    from leaderboard.store.backup import restore as run

    counts = run(backup, store, database)
    click.echo(
        f"{store} has {counts['submissions']} submissions and {counts['files']} files again."
    )


ADMIN_COMMANDS = (
    teams,
    set_team,
    queue,
    submissions,
    move,
    edit_card,
    requeue,
    backup,
    restore,
)
