"""The queue, in the database: what is to be scored, who holds it, and how it ended.

Each function is part of one transaction.

A worker holds a job by a lease that it renews. When the worker dies the lease ends and another
takes the job; only who holds it can end it, in the transaction that records the verdict. So nothing
is lost, and nothing is scored twice.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, func, or_, select
from sqlalchemy.orm import Session, aliased

from leaderboard.store.audit import WORKER, note
from leaderboard.store.tables import (
    JobRow,
    SubmissionRow,
    SuiteRow,
    TeamRow,
    UploadRow,
    VerdictRow,
    changed,
)

LEASE = 60.0  # seconds
ATTEMPTS = 3  # times that a job may take its worker down
OPEN = ("queued", "running")


class QuotaUsed(Exception):
    """The team has had all its submissions of the day."""


class NotYours(Exception):
    """Somebody else submitted the same bytes before."""


class StruckOff(Exception):
    """The keeper took these bytes off the board."""


class NotOpen(Exception):
    """The suite takes no submissions."""


class LostLease(Exception):
    """The job is no longer held by who says so."""


def now() -> datetime:
    """The moment, in UTC.

    Machines that share a queue need about the same clock: their differences shorten or lengthen
    leases.
    """
    return datetime.now(UTC)


def used_today(session: Session, team: TeamRow, uploads: bool = True) -> int:
    """How many of its submissions a team has used on this UTC day.

    One that failed through no fault of its own is free. What is being uploaded counts, except
    where `uploads` is False.
    """
    conditions = (
        JobRow.team_id == team.id,
        JobRow.day == now().date().isoformat(),
        JobRow.status != "failed",
    )
    used = session.scalar(select(func.count()).select_from(JobRow).where(*conditions)) or 0
    return used + (uploading(session, UploadRow.team_id == team.id)[0] if uploads else 0)


def uploading(session: Session, *which: ColumnElement[bool]) -> tuple[int, int]:
    """How many uploads are on their way, and how many bytes they may have."""
    count, size = session.execute(
        select(func.count(), func.coalesce(func.sum(UploadRow.bytes), 0)).where(
            UploadRow.expires > now(), *which
        )
    ).one()
    return count, int(size)


def enqueue(
    session: Session,
    team_id: int,
    suite: str,
    sha256: str,
    size: int,
    name: str,
    upload: int | None = None,
) -> tuple[JobRow, bool]:
    """Queue an archive that was received whole.

    The same bytes to the same suite are one job however often they come; after one that failed or
    was withdrawn there is another. The team's row is locked, so that no two uploads at once count
    as one.

    Args:
        session: A transaction that writes.
        team_id: Whose it is.
        suite: The fingerprint of the suite.
        sha256: Of the archive.
        size: Of the archive, in bytes.
        name: The name that the team gave it.
        upload: The reservation that was made for it, which ends here.

    Returns:
        Its job, and whether that is new.

    Raises:
        NotYours, StruckOff, NotOpen, QuotaUsed: It is not taken.
    """
    team = session.get_one(TeamRow, team_id, with_for_update=True)
    if upload is not None:
        session.execute(delete(UploadRow).where(UploadRow.id == upload))
    jobs = of_archive(session, sha256)
    _check_owner(session, jobs, sha256, team_id)
    job = _current_job(jobs, suite)
    if job is not None and job.status not in ("failed", "withdrawn"):
        return job, False
    _check_open(session, suite)
    if used_today(session, team) >= team.per_day:
        raise QuotaUsed
    if job is not None:
        job.scoring = f"before {job.ticket}"  # it stays as it ended, and makes room for another
        session.flush()
    fresh = _new_job("score", suite, sha256, size, name)
    fresh.team_id = team_id
    session.add(fresh)
    session.flush()
    note(session, team.name, "submitted", fresh.ticket, sha256=sha256, suite=suite, bytes=size)
    return fresh, True


def _current_job(jobs: Sequence[JobRow], suite: str) -> JobRow | None:
    """The job that scores the archive against a suite, unless another took its place."""
    for job in jobs:
        if (job.kind, job.suite_fingerprint, job.scoring) == ("score", suite, ""):
            return job
    return None


def _check_open(session: Session, suite: str) -> None:
    """Refuse a submission to a suite that takes none."""
    row = session.get(SuiteRow, suite)
    if row is None or not row.accepting or row.standing == "retired":
        raise NotOpen


def _new_job(kind: str, suite: str, sha256: str, size: int, name: str, scoring: str = "") -> JobRow:
    received = now()
    return JobRow(
        ticket=secrets.token_urlsafe(16),
        kind=kind,
        suite_fingerprint=suite,
        sha256=sha256,
        bytes=size,
        name=name,
        received=received,
        day=received.date().isoformat(),
        scoring=scoring,
        status="queued",
        ready=received,
        attempts=0,
    )


def _check_owner(session: Session, jobs: list[JobRow], sha256: str, team_id: int) -> None:
    """NotYours where these bytes are somebody else's, whatever suite they were sent to."""
    row = session.scalars(select(SubmissionRow).where(SubmissionRow.sha256 == sha256)).first()
    if row is not None and row.team_id != team_id:
        raise NotYours
    if row is not None and row.struck:
        raise StruckOff
    if any(job.kind == "score" and job.team_id != team_id for job in jobs):
        raise NotYours


def of_archive(session: Session, sha256: str) -> list[JobRow]:
    """The jobs of an archive, locked.

    Nobody queues it, ends it or deletes its file until the transaction ends.
    """
    query = select(JobRow).where(JobRow.sha256 == sha256).order_by(JobRow.id)
    return list(session.scalars(query.with_for_update().execution_options(populate_existing=True)))


def enqueue_again(
    session: Session, suite: SuiteRow, scoring: str, actor: str, all_of_it: bool = False
) -> int:
    """Queue what was accepted on a suite to be scored again.

    What has another `scoring` than this one, or all. How many.
    """
    stale = (
        select(SubmissionRow)
        .join(VerdictRow, VerdictRow.id == SubmissionRow.last_verdict)
        .where(
            SubmissionRow.suite_fingerprint == suite.fingerprint, SubmissionRow.withdrawn.is_(None)
        )
        .order_by(SubmissionRow.id)
    )
    if not all_of_it:
        stale = stale.where(func.coalesce(VerdictRow.scoring, "") != scoring)
    waiting = select(JobRow.sha256).where(
        JobRow.kind == "rescore",
        JobRow.suite_fingerprint == suite.fingerprint,
        JobRow.status.in_(OPEN),
        JobRow.scoring.startswith(scoring),
    )
    there = set(session.scalars(waiting))
    stale_rows = [row for row in session.scalars(stale) if row.sha256 not in there]
    mark = f"{scoring}@{now().timestamp():.6f}"
    for row in stale_rows:
        session.add(_new_job("rescore", suite.fingerprint, row.sha256, row.bytes, row.method, mark))
    if stale_rows:
        note(
            session,
            actor,
            "rescoring",
            suite.fingerprint,
            submissions=len(stale_rows),
            scoring=scoring,
        )
    return len(stale_rows)


def claim(session: Session, holder: str, lease: float = LEASE) -> JobRow | None:
    """Take the next job for `lease` seconds; None where there is nothing to do.

    New submissions come before old ones that are scored again. Among new ones the teams take turns:
    the one whose last turn is longest ago is next, so a team with a hundred waiting makes nobody
    else wait for more than one. A job whose holder is gone is taken too; after so many attempts it
    has failed.
    """
    while job := session.scalars(_next()).first():
        if job.attempts >= ATTEMPTS:
            end(
                session,
                job,
                "failed",
                f"The process that scored it died {ATTEMPTS} times; the keeper can tell why.",
            )
            session.flush()
            continue
        job.status, job.holder, job.attempts = "running", holder, job.attempts + 1
        job.started = now()
        job.ready = job.started + timedelta(seconds=lease)
        note(session, WORKER, "started", job.ticket, holder=holder, attempt=job.attempts)
        return job
    return None


def _next() -> Select[JobRow]:
    """The job that is next, locked."""
    others = aliased(JobRow)
    last_turn = (
        select(func.max(others.started)).where(others.team_id == JobRow.team_id).scalar_subquery()
    )
    blocked = select(TeamRow.id).where(TeamRow.blocked.is_not(None))
    return (
        select(JobRow)
        .where(
            JobRow.status.in_(OPEN),
            JobRow.ready <= now(),
            or_(JobRow.team_id.is_(None), JobRow.team_id.not_in(blocked)),
        )
        .order_by(JobRow.kind.desc(), last_turn.asc().nulls_first(), JobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=JobRow)
    )


def ahead_of(session: Session, job: JobRow) -> int:
    """How many jobs come before a queued one, as the teams take turns."""
    team_jobs = (
        select(func.count())
        .select_from(JobRow)
        .where(
            JobRow.team_id == job.team_id,
            JobRow.status == "queued",
            JobRow.kind == "score",
            JobRow.id < job.id,
        )
    )
    mine = session.scalar(team_jobs) or 0
    others = (
        select(func.count())
        .where(JobRow.team_id != job.team_id, JobRow.status == "queued", JobRow.kind == "score")
        .group_by(JobRow.team_id)
    )
    return mine + sum(min(count, mine + 1) for count in session.scalars(others))


def renew(session: Session, job_id: int, holder: str, lease: float = LEASE) -> None:
    """Hold a job for `lease` seconds more. LostLease when it was taken, withdrawn or ended."""
    held(session, job_id, holder).ready = now() + timedelta(seconds=lease)


def held(session: Session, job_id: int, holder: str) -> JobRow:
    """A job that `holder` holds, locked until the transaction ends; LostLease when it does not."""
    job = session.scalars(select(JobRow).where(JobRow.id == job_id).with_for_update()).first()
    if job is None or job.status != "running" or job.holder != holder:
        raise LostLease
    return job


def release(session: Session, job: JobRow, seconds: float, why: str) -> None:
    """Put a held job back for `seconds`, through no fault of its own.

    The attempt does not count.
    """
    job.status, job.holder, job.ready, job.attempts = (
        "queued",
        None,
        now() + timedelta(seconds=seconds),
        job.attempts - 1,
    )
    note(session, WORKER, "put-back", job.ticket, why=why)


def end(
    session: Session, job: JobRow, status: str, reason: str | None = None, **detail: object
) -> None:
    """End a job: accepted, refused, failed or withdrawn."""
    job.status, job.holder, job.reason, job.finished = status, None, reason and reason[:1000], now()
    note(session, WORKER, status, job.ticket, sha256=job.sha256, reason=job.reason, **detail)


def withdraw(session: Session, sha256: str, actor: str, team_id: int | None = None) -> bool:
    """Take an archive off the board and out of the queue.

    Who owns it decides, not who has the same bytes. What was found stays in the database, and a run
    that a team withdrew still counts in the mean of its row; one that the keeper strikes off does
    not. Who calls this then calls `worker.forget`, which deletes the images.

    Args:
        session: A transaction that writes.
        sha256: Of the archive.
        actor: Who does it, for the log.
        team_id: The team that withdraws what it owns; None is the keeper, who strikes off.

    Returns:
        False where there is nothing to withdraw.
    """
    keeper = team_id is None
    jobs = [job for job in of_archive(session, sha256) if keeper or job.team_id == team_id]
    on_board = select(SubmissionRow).where(
        SubmissionRow.sha256 == sha256, SubmissionRow.withdrawn.is_(None)
    )
    if not keeper:
        on_board = on_board.where(SubmissionRow.team_id == team_id)
    row = session.scalars(on_board.with_for_update()).first()
    going = [
        job
        for job in jobs
        if job.status in OPEN or (job.status == "accepted" and job.kind == "score")
    ]
    for job in going:
        job.status, job.holder, job.finished = "withdrawn", None, now()
    if row is not None:
        row.withdrawn, row.struck = now(), keeper
        changed(session)
        rescoring = [job for job in of_archive(session, sha256) if job.status in OPEN]
        for job in rescoring:
            job.status, job.holder, job.finished = "withdrawn", None, now()
    if row is not None or going:
        action = "struck-off" if keeper else "withdrawn"
        note(session, actor, action, going[0].ticket if going else sha256, sha256=sha256)
    return row is not None or bool(going)


def waiting_bytes(session: Session, team_id: int) -> int:
    """Bytes of a team's archives that wait to be scored."""
    conditions = (JobRow.team_id == team_id, JobRow.status.in_(OPEN), JobRow.kind == "score")
    return int(
        session.scalar(select(func.coalesce(func.sum(JobRow.bytes), 0)).where(*conditions)) or 0
    )


def waiting(session: Session, sha256: str) -> bool:
    """Whether an archive is still to be scored."""
    query = select(JobRow.id).where(JobRow.sha256 == sha256, JobRow.status.in_(OPEN))
    return session.scalars(query.limit(1)).first() is not None


def shown(session: Session, sha256: str) -> bool:
    """Whether an archive is on the board."""
    query = select(SubmissionRow.id).where(
        SubmissionRow.sha256 == sha256, SubmissionRow.withdrawn.is_(None)
    )
    return session.scalars(query.limit(1)).first() is not None
