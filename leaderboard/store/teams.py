"""Teams: who may submit, how often, and the token by which one is known."""

import hashlib
import re
import secrets
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.store.audit import KEEPER, note
from leaderboard.store.store import Store
from leaderboard.store.tables import TeamRow
from lorweb_bench.errors import InputError

PER_DAY = 5
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")
TOKEN = re.compile(r"lwb_[A-Za-z0-9_-]{43}")


def token_hash(token: str) -> str:
    """What is stored of a token.

    It has 256 random bits, so a plain sha256 cannot be searched; a password's could.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def grant(store: Store, name: str, per_day: int | None = None) -> str:
    """Make a team, or give one that is there a new token in place of its old one.

    The token is told once, here.

    `per_day` is how many submissions a UTC day it has; None leaves that as it is (5 for a new one).
    InputError for a name that is not plain letters, digits, spaces, dots, hyphens and underscores.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a team; use up to 80 letters, digits, spaces, dots, "
            "hyphens and underscores."
        )
    if per_day is not None and per_day < 0:
        raise InputError(
            f"{per_day} submissions a day is no number of submissions; give 0 or more."
        )
    token = f"lwb_{secrets.token_urlsafe(32)}"
    with store.writing() as session:
        team = session.scalars(select(TeamRow).where(TeamRow.name == name)).first()
        action = "token-replaced" if team else "team-created"
        if team is None:
            team = TeamRow(name=name, per_day=PER_DAY, created=datetime.now(UTC))
            session.add(team)
        team.token_hash, team.revoked = token_hash(token), None
        team.per_day = team.per_day if per_day is None else per_day
        note(session, KEEPER, action, name, per_day=team.per_day)
    return token


def revoke(store: Store, name: str) -> None:
    """Refuse a team's token from now on; what it submitted stays.

    InputError when there is no such team.
    """
    with store.writing() as session:
        team = session.scalars(select(TeamRow).where(TeamRow.name == name)).first()
        if team is None:
            raise InputError(f"There is no team {name!r} in {store.folder}.")
        team.revoked = datetime.now(UTC)
        note(session, KEEPER, "team-revoked", name)


def team_of(session: Session, token: str) -> TeamRow | None:
    """The team that a token belongs to, or None.

    It is looked up by its hash, so the time that takes tells nothing of it.
    """
    if not TOKEN.fullmatch(token):
        return None
    found = select(TeamRow).where(
        TeamRow.token_hash == token_hash(token), TeamRow.revoked.is_(None)
    )
    return session.scalars(found).first()
