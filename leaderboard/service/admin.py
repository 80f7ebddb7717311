"""What the keeper of a board does by hand: look at it, and put right what went wrong."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from leaderboard.service import queue
from leaderboard.store.audit import KEEPER, note
from leaderboard.store.name_claims import skeleton, taken
from leaderboard.store.store import Store
from leaderboard.store.tables import (
    JobRow,
    SubmissionRow,
    SuiteRow,
    TeamRow,
    VerdictRow,
    changed,
)
from leaderboard.store.teams import named
from leaderboard.submission.card import Card
from lorweb_bench.errors import InputError

# Of a card: what makes a row.
KEPT = ("method", "version", "track", "prompt_mode", "exemplars", "seeds")
Line = dict[str, Any]


def list_teams(store: Store) -> list[Line]:
    """The teams: what each has used of its day, and what stands of it."""
    with store.reading() as session:
        return [
            {
                "team": team.name,
                "per_day": team.per_day,
                "used_today": queue.used_today(session, team),
                "releases": team.releases,
                "waiting": _count(session, JobRow, JobRow.status.in_(queue.OPEN), team),
                "submissions": _count(
                    session, SubmissionRow, SubmissionRow.struck.is_(False), team
                ),
                "created": team.created.date().isoformat(),
                "state": _state(team),
            }
            for team in session.scalars(select(TeamRow).order_by(TeamRow.name))
        ]


def _state(team: TeamRow) -> str:
    if team.blocked is not None:
        return "blocked"
    return "revoked" if team.revoked is not None else "active"


def _count(session: Session, table: type[Any], which: Any, team: TeamRow) -> int:
    query = select(func.count()).select_from(table).where(which, table.team_id == team.id)
    return session.scalar(query) or 0


def list_queue(store: Store, everything: bool = False) -> list[Line]:
    """The jobs that are open, in the order of their coming, or all."""
    query = (
        select(JobRow, TeamRow.name, SuiteRow.name)
        .outerjoin(TeamRow, TeamRow.id == JobRow.team_id)
        .join(SuiteRow, SuiteRow.fingerprint == JobRow.suite_fingerprint)
        .order_by(JobRow.id)
    )
    if not everything:
        query = query.where(JobRow.status.in_(queue.OPEN))
    with store.reading() as session:
        return [
            {
                "ticket": job.ticket,
                "kind": job.kind,
                "status": job.status,
                "team": team or KEEPER,
                "suite": suite,
                "name": job.name,
                "sha256": job.sha256[:12],
                "received": job.received.isoformat(timespec="seconds"),
                "attempts": job.attempts,
                "holder": job.holder or "",
                "reason": job.reason or "",
            }
            for job, team, suite in session.execute(query)
        ]


def list_submissions(store: Store, team: str | None = None, flagged: bool = False) -> list[Line]:
    """What was accepted, with its owner and how it stands."""
    query = (
        select(SubmissionRow, TeamRow.name, SuiteRow.name, VerdictRow.level)
        .outerjoin(TeamRow, TeamRow.id == SubmissionRow.team_id)
        .join(SuiteRow, SuiteRow.fingerprint == SubmissionRow.suite_fingerprint)
        .outerjoin(VerdictRow, VerdictRow.id == SubmissionRow.last_verdict)
        .order_by(SubmissionRow.id)
    )
    if flagged:
        query = query.where(SubmissionRow.flag.is_not(None))
    if team is not None:
        query = query.where(TeamRow.name == team)
    with store.reading() as session:
        if team is not None:
            named(session, team)
        return [_line(*row) for row in session.execute(query)]


def _line(row: SubmissionRow, team: str | None, suite: str, level: str | None) -> Line:
    state = "struck off" if row.struck else "withdrawn" if row.withdrawn else level or ""
    return {
        "sha256": row.sha256[:12],
        "team": team or KEEPER,
        "suite": suite,
        "method": row.method,
        "version": row.version,
        "track": row.track,
        "received": row.received.date().isoformat(),
        "state": state,
        "held": row.held or "",
        "flag": row.flag or "",
    }


def find(session: Session, digest: str) -> SubmissionRow:
    """The submission whose sha256 begins so. InputError where there is none, or several."""
    if not digest or any(letter not in "0123456789abcdef" for letter in digest):
        raise InputError(f"{digest!r} is no sha256; `leaderboard submissions` lists them.")
    matches = session.scalars(
        select(SubmissionRow).where(SubmissionRow.sha256.startswith(digest)).limit(2)
    ).all()
    if len(matches) != 1:
        many = "several submissions" if matches else "no submission"
        raise InputError(f"There is {many} {digest!r}; `leaderboard submissions` lists them.")
    return matches[0]


def move(store: Store, digest: str, team: str | None) -> str:
    """Give a submission another owner; None is the keeper. Gives back its method's name.

    All with the method's name move, so that the name stays one owner's.
    """
    with store.writing() as session:
        row = find(session, digest)
        owner = None if team is None else named(session, team).id
        together = session.scalars(
            select(SubmissionRow).where(
                SubmissionRow.name_key == row.name_key, SubmissionRow.team_id.is_(row.team_id)
            )
            if row.team_id is None
            else select(SubmissionRow).where(
                SubmissionRow.name_key == row.name_key, SubmissionRow.team_id == row.team_id
            )
        ).all()
        for submission in together:
            submission.team_id = owner
            jobs = select(JobRow).where(JobRow.sha256 == submission.sha256, JobRow.kind == "score")
            for job in session.scalars(jobs):
                job.team_id = owner
            note(session, KEEPER, "moved", submission.sha256, team=team or KEEPER)
        changed(session)
        return row.method


def edit_card(store: Store, digest: str, card: Card) -> None:
    """Put another card in the place of a submission's: authors, links, words. The archive stays.

    Raises:
        InputError: The card has another version, track, prompt mode or seeds, which the predictions
            have too, or a method's name that is not the owner's.
    """
    with store.writing() as session:
        row = find(session, digest)
        old = Card.model_validate(row.card)
        for field in KEPT[1:]:
            if getattr(old, field) != getattr(card, field):
                raise InputError(
                    f"The card's {field} is {getattr(card, field)!r}, that of the submission "
                    f"{getattr(old, field)!r}; this cannot be edited, as it makes the row."
                )
        if card.method != old.method and (why := taken(session, card.method, row.team_id)):
            raise InputError(why)
        content = card.model_dump(mode="json")
        row.card, row.method, row.name_key = content, card.method, skeleton(card.method)
        verdict = session.get_one(VerdictRow, row.last_verdict)
        verdict.verdict = _with_card(verdict.verdict, content)
        note(session, KEEPER, "card-edited", row.sha256, changes=_changes(old, card))
        changed(session)


def _with_card(verdict: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    report = dict(verdict["report"])
    report["method"] = report["method"] | {"name": card["method"]}
    return {**verdict, "card": dict(card), "report": report}


def _changes(old: Card, new: Card) -> list[str]:
    return [name for name in type(old).model_fields if getattr(old, name) != getattr(new, name)]


def requeue(store: Store, ticket: str) -> str:
    """Put a job that failed or was refused back into the queue; gives back what it was.

    Raises:
        InputError: There is no such job, it is open or accepted, or its archive is gone.
    """
    with store.writing() as session:
        job = session.scalars(
            select(JobRow)
            .where(or_(JobRow.ticket == ticket, JobRow.sha256.startswith(ticket)))
            .order_by(JobRow.id.desc())
        ).first()
        if job is None:
            raise InputError(f"There is no job {ticket!r}; `leaderboard queue --all` lists them.")
        before = job.status
        if before == "running":
            job.ready = queue.now() - timedelta(seconds=1)
            note(session, KEEPER, "requeued", job.ticket, was=before)
            job.status, job.holder = "queued", None
            return before
        if before not in ("failed", "refused"):
            raise InputError(f"The job {ticket!r} is {before}; one that failed or was refused can.")
        places = (store.upload(job.sha256), store.archive(job.sha256))
        if not any(path.is_file() for path in places):
            raise InputError(
                f"The archive of {ticket!r} is gone from the disk, as those that end are deleted; "
                "its team can submit it again."
            )
        job.status, job.attempts, job.reason, job.finished = "queued", 0, None, None
        job.ready = queue.now()
        note(session, KEEPER, "requeued", job.ticket, was=before)
        return before
