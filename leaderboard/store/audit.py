"""The audit log.

Who did what to the board, written in the transaction that does it, and never changed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from leaderboard.store.database import Sessions
from leaderboard.store.tables import AuditRow, JobRow, SubmissionRow, TeamRow

KEEPER, WORKER = "keeper", "worker"


def note(session: Session, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Add a line.

    `actor` (a team, the keeper, a worker) did `action` to `subject` (a team, a suite, a ticket or a
    digest).
    """
    session.add(
        AuditRow(
            at=datetime.now(UTC),
            actor=actor[:100],
            action=action,
            subject=subject[:100],
            detail=detail,
        )
    )


def read(
    store: Sessions, subject: str | None = None, team: str | None = None
) -> Iterator[dict[str, Any]]:
    """The lines of the log, oldest first.

    Args:
        store: The board's store.
        subject: Those about this team, suite, ticket or digest alone.
        team: Those of this team alone: what it did, what was done to it, and what came of what it
            submitted, under all names that it had.
    """
    lines = select(AuditRow).order_by(AuditRow.id)
    if subject is not None:
        lines = lines.where(AuditRow.subject == subject)
    with store.reading() as session:
        if team is not None:
            lines = lines.where(_of_team(session, team))
        for row in session.scalars(lines.execution_options(yield_per=500)):
            yield {
                "at": row.at.isoformat(),
                "actor": row.actor,
                "action": row.action,
                "subject": row.subject,
                **row.detail,
            }


def _of_team(session: Session, team: str) -> ColumnElement[bool]:
    names = {team}
    renamed = select(AuditRow).where(AuditRow.action == "team-changed").order_by(AuditRow.id.desc())
    for row in session.scalars(renamed):
        if row.subject in names and "was" in row.detail:
            names.add(row.detail["was"])
    team_id = select(TeamRow.id).where(TeamRow.name == team).scalar_subquery()
    tickets = select(JobRow.ticket).where(JobRow.team_id == team_id)
    digests = select(SubmissionRow.sha256).where(SubmissionRow.team_id == team_id)
    return or_(
        AuditRow.actor.in_(names),
        AuditRow.subject.in_(names),
        AuditRow.subject.in_(tickets),
        AuditRow.subject.in_(digests),
    )
