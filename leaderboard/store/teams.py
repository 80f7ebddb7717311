"""Teams: who may submit, how often, and the token by which one is known."""

import hashlib
import re
import secrets
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.store.audit import KEEPER, WORKER, note
from leaderboard.store.database import Sessions
from leaderboard.store.name_claims import skeleton
from leaderboard.store.tables import TeamRow, changed
from lorweb_bench.errors import InputError, did_you_mean

PER_DAY = 5
RESERVED_TEAMS = (KEEPER, WORKER, "the keeper")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")
TOKEN = re.compile(r"lwb_[A-Za-z0-9_-]{43}")


def token_hash(token: str) -> str:
    """What is stored of a token.

    It has 256 random bits, so a plain sha256 cannot be searched; a password's could.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def grant(store: Sessions, name: str, per_day: int | None = None) -> str:
    """Make a team, or give one that is there a new token in place of its old one.

    Args:
        store: The board's store.
        name: The team's name.
        per_day: Submissions that it has a UTC day; None leaves that as it is (5 for a new one).

    Returns:
        The token, which is told once, here.

    Raises:
        InputError: The name is not plain letters, digits, spaces, dots, hyphens and underscores, or
            looks like another team's.
    """
    _check_per_day(per_day)
    token = f"lwb_{secrets.token_urlsafe(32)}"
    with store.writing() as session:
        team = session.scalars(select(TeamRow).where(TeamRow.name == name)).first()
        action = "token-replaced" if team else "team-created"
        if team is None:
            _check_name(session, name)
            team = TeamRow(name=name, per_day=PER_DAY, created=datetime.now(UTC))
            session.add(team)
        team.token_hash, team.revoked = token_hash(token), None
        team.per_day = team.per_day if per_day is None else per_day
        note(session, KEEPER, action, name, per_day=team.per_day)
    return token


def revoke(store: Sessions, name: str) -> None:
    """Refuse a team's token from now on; what it submitted stays.

    Raises:
        InputError: There is no such team.
    """
    with store.writing() as session:
        named(session, name).revoked = datetime.now(UTC)
        note(session, KEEPER, "team-revoked", name)


def change(
    store: Sessions,
    name: str,
    *,
    rename: str | None = None,
    per_day: int | None = None,
    releases: int | None = None,
    blocked: bool | None = None,
) -> None:
    """Change a team; its token stays what it is. None leaves a thing as it is.

    Args:
        store: The board's store.
        name: The team's name.
        rename: Its new name. What it submitted stays its own.
        per_day: Submissions that it has a UTC day.
        releases: Submissions to a private suite whose scores are told.
        blocked: Whether it is turned away, and what it has in the queue left alone.

    Raises:
        InputError: There is no such team, or the new name cannot be had.
    """
    _check_per_day(per_day)
    with store.writing() as session:
        team = named(session, name)
        if rename is not None and rename != name:
            _check_name(session, rename, team.id)
            team.name = rename
            changed(session)
        if blocked is not None:
            team.blocked = datetime.now(UTC) if blocked else None
        team.per_day = team.per_day if per_day is None else per_day
        team.releases = team.releases if releases is None else releases
        settings = {"rename": rename, "per_day": per_day, "releases": releases, "blocked": blocked}
        changes = {what: value for what, value in settings.items() if value is not None}
        note(session, KEEPER, "team-changed", team.name, was=name, **changes)


def named(session: Session, name: str) -> TeamRow:
    """The team of this name; InputError with the nearest one where there is none."""
    team = session.scalars(select(TeamRow).where(TeamRow.name == name)).first()
    if team is None:
        names = sorted(session.scalars(select(TeamRow.name)))
        hint = did_you_mean(name, names, "`lorweb-bench leaderboard teams` lists them")
        raise InputError(f"There is no team {name!r} on this board; {hint}.")
    return team


def _check_per_day(per_day: int | None) -> None:
    if per_day is not None and per_day < 0:
        raise InputError(
            f"{per_day} submissions a day is no number of submissions; give 0 or more."
        )


def _check_name(session: Session, name: str, team_id: int | None = None) -> None:
    """InputError where a name is no plain one, is reserved, or looks like another team's."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a team; use up to 80 letters, digits, spaces, dots, "
            "hyphens and underscores."
        )
    if skeleton(name) in map(skeleton, RESERVED_TEAMS):
        raise InputError(f"{name!r} is a name of the board itself; choose another one.")
    for team in session.scalars(select(TeamRow)):
        if team.id != team_id and skeleton(team.name) == skeleton(name):
            raise InputError(
                f"{name!r} looks like {team.name!r}, which is another team; choose another name."
            )


def team_of(session: Session, token: str) -> TeamRow | None:
    """The team that a token belongs to, or None.

    It is looked up by its hash, so the time that takes tells nothing of it.
    """
    if not TOKEN.fullmatch(token):
        return None
    query = select(TeamRow).where(
        TeamRow.token_hash == token_hash(token), TeamRow.revoked.is_(None)
    )
    return session.scalars(query).first()
