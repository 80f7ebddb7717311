"""Whose a method's name is.

On a suite, it belongs to whoever had a submission with it accepted first.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from leaderboard.board.run_groups import REFERENCES
from leaderboard.store.tables import JobRow, SiteRow, SubmissionRow


def taken(session: Session, method: str, suite: str, team_id: int | None) -> str | None:
    """Why a team cannot have this name on the suite with this fingerprint.

    Another team has it, or the keeper; or None.

    The reference rows' names are the keeper's, who runs them. Upper and lower case are one. Without
    this anybody could take the place of another's row, or be averaged into it. Who asks holds the
    board's row until the transaction ends, so of two teams at once one is first.
    """
    if method.lower() in REFERENCES and team_id is not None:
        return (
            f"{method} is the name of a reference row, which the keeper runs; give your "
            "method another one."
        )
    session.execute(select(SiteRow.revision).with_for_update())
    same = (
        func.lower(SubmissionRow.method) == method.lower(),
        SubmissionRow.suite_fingerprint == suite,
    )
    first = session.scalars(
        select(SubmissionRow)
        .where(*same, SubmissionRow.withdrawn.is_(None))
        .order_by(SubmissionRow.id)
    ).first()
    if first is None:
        return None
    uploads = select(JobRow.team_id).where(
        JobRow.kind == "score", JobRow.suite_fingerprint == suite, JobRow.sha256 == first.sha256
    )
    owner = session.scalars(uploads.order_by(JobRow.id)).first()
    if owner == team_id:
        return None
    whose = "the keeper" if owner is None else "another team"
    return (
        f"The name {first.method} belongs to {whose} on this board; give your method another one."
    )
