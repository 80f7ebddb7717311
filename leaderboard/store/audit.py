"""The audit log.

Who did what to the board, written in the transaction that does it, and never changed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.store.database import Sessions
from leaderboard.store.tables import AuditRow

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


def read(store: Sessions, subject: str | None = None) -> Iterator[dict[str, Any]]:
    """The lines of the log, oldest first; those about `subject` alone where given."""
    lines = select(AuditRow).order_by(AuditRow.id)
    if subject is not None:
        lines = lines.where(AuditRow.subject == subject)
    with store.reading() as session:
        for row in session.scalars(lines.execution_options(yield_per=500)):
            yield {
                "at": row.at.isoformat(),
                "actor": row.actor,
                "action": row.action,
                "subject": row.subject,
                **row.detail,
            }
