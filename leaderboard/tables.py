"""The tables of a board's database. Plain columns and JSON, so that SQLite and PostgreSQL hold the same."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Table(DeclarativeBase):
    """The base of all tables."""


class SuiteRow(Table):
    """A suite of the board; `standing` says what may be shown of it (see `suites.declare`), `about` has counts and no keys."""

    __tablename__ = "suites"

    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    targets_fingerprint: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(100))
    standing: Mapped[str] = mapped_column(String(20), default="private")
    about: Mapped[dict[str, Any]] = mapped_column(JSON)


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
    card: Mapped[dict[str, Any]] = mapped_column(JSON)

    suite: Mapped[SuiteRow] = relationship()
    verdicts: Mapped[list["VerdictRow"]] = relationship(back_populates="submission", order_by="VerdictRow.id")


class VerdictRow(Table):
    """What the board found when it scored a submission. The last one of a submission is the one that counts."""

    __tablename__ = "verdicts"

    id: Mapped[int] = mapped_column(primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submissions.id"), index=True)
    decided: Mapped[datetime] = mapped_column(UtcTime)
    level: Mapped[str] = mapped_column(String(20))
    verdict: Mapped[dict[str, Any]] = mapped_column(JSON)
    per_sample: Mapped[str] = mapped_column(String(64))

    submission: Mapped[SubmissionRow] = relationship(back_populates="verdicts")
