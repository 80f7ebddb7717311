"""The tables of a board's database.

Plain columns and JSON, so that SQLite and PostgreSQL hold the same.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    false,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

RELEASES = 10  # submissions of a team to a private suite whose scores are told


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment in UTC, as the database keeps it."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment as it was read, with UTC as its zone."""
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Table(DeclarativeBase):
    """The base of all tables."""


class SuiteRow(Table):
    """A suite of the board.

    `standing` says what may be shown of it (see `suites.declare`), `about` has counts and no keys.
    """

    __tablename__ = "suites"

    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    targets_fingerprint: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(100))
    standing: Mapped[str] = mapped_column(String(20), default="private", server_default="private")
    about: Mapped[dict[str, Any]] = mapped_column(JSON)
    path: Mapped[str | None] = mapped_column(String(2000))  # of the full view, for the workers
    most_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of an archive
    accepting: Mapped[bool] = mapped_column(default=False, server_default=false())
    secret: Mapped[str | None] = mapped_column(String(64), index=True)  # a digest of it
    scoring: Mapped[str | None] = mapped_column(
        String(64)
    )  # what verdicts should be scored with; see `scoring_identity`


class SubmissionRow(Table):
    """An archive that was accepted, once: what its card and its manifest declare."""

    __tablename__ = "submissions"

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[datetime] = mapped_column(UtcTime)
    suite_fingerprint: Mapped[str] = mapped_column(ForeignKey("suites.fingerprint"), index=True)
    method: Mapped[str] = mapped_column(String(200), index=True)
    version: Mapped[str] = mapped_column(String(300))
    track: Mapped[str] = mapped_column(String(20))
    prompt_mode: Mapped[str] = mapped_column(String(20))
    exemplars: Mapped[int] = mapped_column(default=1, server_default="1")  # pairs that it is shown
    card: Mapped[dict[str, Any]] = mapped_column(JSON)
    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"), index=True)  # its owner
    name_key: Mapped[str] = mapped_column(String(200), index=True)  # see `name_claims.skeleton`
    pixels: Mapped[str | None] = mapped_column(String(64), index=True)  # see `Verdict.pixels`
    held: Mapped[str | None] = mapped_column(String(20))  # see `ladder.HELD`
    flag: Mapped[str | None] = mapped_column(String(300))  # what the keeper should look at
    withdrawn: Mapped[datetime | None] = mapped_column(UtcTime)
    struck: Mapped[bool] = mapped_column(default=False, server_default=false())  # by the keeper
    rank_low: Mapped[int | None] = mapped_column()  # as last rendered
    rank_high: Mapped[int | None] = mapped_column()
    last_verdict: Mapped[int | None] = mapped_column()  # the id of the verdict that counts

    team: Mapped["TeamRow | None"] = relationship()
    suite: Mapped[SuiteRow] = relationship()
    verdicts: Mapped[list["VerdictRow"]] = relationship(
        back_populates="submission", order_by="VerdictRow.id"
    )


class VerdictRow(Table):
    """What the board found when it scored a submission.

    The last one of a submission is the one that counts.
    """

    __tablename__ = "verdicts"

    id: Mapped[int] = mapped_column(primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.id"), index=True)
    decided: Mapped[datetime] = mapped_column(UtcTime)
    level: Mapped[str] = mapped_column(String(20))
    verdict: Mapped[dict[str, Any]] = mapped_column(JSON)
    per_sample: Mapped[str] = mapped_column(String(64))
    scoring: Mapped[str | None] = mapped_column(String(64))
    job_id: Mapped[int | None] = mapped_column(
        unique=True, index=True
    )  # so no job gives two verdicts

    submission: Mapped[SubmissionRow] = relationship(back_populates="verdicts")


class TeamRow(Table):
    """Who may submit. Of the token there is a hash alone."""

    __tablename__ = "teams"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    per_day: Mapped[int] = mapped_column()
    created: Mapped[datetime] = mapped_column(UtcTime)
    revoked: Mapped[datetime | None] = mapped_column(UtcTime)
    blocked: Mapped[datetime | None] = mapped_column(UtcTime)
    releases: Mapped[int] = mapped_column(default=RELEASES, server_default=str(RELEASES))


class JobRow(Table):
    """An archive that is to be scored, or scored again.

    `ready`: when a worker may take it; while one holds it, when its lease ends.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("kind", "suite_fingerprint", "sha256", "scoring", name="uq_jobs_once"),
        Index("ix_jobs_status_ready", "status", "ready"),
        Index("ix_jobs_team_day", "team_id", "day"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    ticket: Mapped[str] = mapped_column(String(40), unique=True)
    kind: Mapped[str] = mapped_column(String(10))
    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"))
    suite_fingerprint: Mapped[str] = mapped_column(ForeignKey("suites.fingerprint"))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(String(200))
    scoring: Mapped[str] = mapped_column(String(100))
    day: Mapped[str] = mapped_column(String(10))
    received: Mapped[datetime] = mapped_column(UtcTime)
    finished: Mapped[datetime | None] = mapped_column(UtcTime)
    status: Mapped[str] = mapped_column(String(10))
    ready: Mapped[datetime] = mapped_column(UtcTime)
    holder: Mapped[str | None] = mapped_column(String(60))
    attempts: Mapped[int] = mapped_column(default=0)
    started: Mapped[datetime | None] = mapped_column(UtcTime)  # last
    reason: Mapped[str | None] = mapped_column(String(1000))

    team: Mapped[TeamRow | None] = relationship()
    suite: Mapped[SuiteRow] = relationship()


class UploadRow(Table):
    """An upload on its way: a share of its team's quota and of the disk until it ends."""

    __tablename__ = "uploads"

    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"), index=True)
    address: Mapped[str] = mapped_column(String(60))
    bytes: Mapped[int] = mapped_column(BigInteger)  # that it may have
    expires: Mapped[datetime] = mapped_column(UtcTime)


class WorkerRow(Table):
    """A worker and when it was last seen alive."""

    __tablename__ = "workers"

    holder: Mapped[str] = mapped_column(String(60), primary_key=True)
    seen: Mapped[datetime] = mapped_column(UtcTime)


class AuditRow(Table):
    """Who did what, when. Rows are only ever added."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime)
    actor: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100), index=True)
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)


class SiteRow(Table):
    """One row.

    The last change of the board, the one that its pages show, and when a worker may render them
    again.
    """

    __tablename__ = "site"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column()
    rendered: Mapped[int] = mapped_column()
    ready: Mapped[datetime] = mapped_column(UtcTime)


def changed(session: Session) -> None:
    """Note that the board is not what its pages show."""
    session.execute(update(SiteRow).values(revision=SiteRow.revision + 1))
