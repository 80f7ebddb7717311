"""What a team may ask of the service, with its token: submit, look, withdraw."""

import asyncio
import contextlib
import errno
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from leaderboard.service import api_models, queue
from leaderboard.service.sandbox import FULL
from leaderboard.service.server import LOOPBACK
from leaderboard.service.shared import HEX, SAID, Service, Shared, Team
from leaderboard.service.uploads import (
    NoArchive,
    NoShare,
    Received,
    TooLarge,
    TooSlow,
    receive,
    release,
    renew,
    reserve,
)
from leaderboard.service.worker import forget
from leaderboard.store.store import UPLOADS
from leaderboard.store.tables import JobRow, SuiteRow, TeamRow

Ticket = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,40}$")]
Digest = Annotated[str | None, Query(pattern=HEX, description="The sha256 of an archive.")]
router = APIRouter(prefix="/api/v1", responses={401: SAID[401]})


@router.get("/me")
def me(service: Shared, team: Team) -> api_models.Me:
    """Whose token it is, and what is left of the day."""
    with service.store.reading() as session:
        return api_models.me(session, team)


@router.post(
    "/submissions",
    status_code=202,
    responses=SAID | {200: {"model": api_models.Submission}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def submit(
    request: Request,
    response: Response,
    service: Shared,
    team: Team,
    suite: Annotated[str, Query(pattern=HEX)],
    name: Annotated[str, Query(min_length=1, max_length=200)] = "submission.zip",
) -> api_models.Submission:
    """Submit the archive that is the body. The same bytes again are the same submission: 200.

    A part of the team's quota is set aside when the upload begins, so what is turned away is turned
    away before it was sent.
    """
    declared = request.headers.get("content-length")
    host = request.client.host if request.client else ""
    address = "" if host in LOOPBACK else host  # a proxy there speaks for everybody
    upload, most = await run_in_threadpool(_admitted, service, team, suite, declared, address)
    try:
        received = await _received(service, request, most, upload)
        answer, new = await run_in_threadpool(_queued, service, team, suite, received, name, upload)
    except BaseException:
        await asyncio.shield(run_in_threadpool(_released, service, upload))
        raise
    response.status_code = 202 if new else 200
    return answer


@router.get("/submissions")
def submissions(
    service: Shared,
    team: Team,
    sha256: Digest = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[api_models.Submission]:
    """The team's own submissions, the newest first; those of one digest alone where given."""
    query = select(JobRow).where(JobRow.team_id == team.id).order_by(JobRow.id.desc()).limit(limit)
    query = query.where(JobRow.sha256 == sha256) if sha256 else query
    with service.store.reading() as session:
        return [api_models.submission(session, job) for job in session.scalars(query)]


@router.get("/submissions/{ticket}", responses={404: SAID[404]})
def submission(service: Shared, team: Team, ticket: Ticket) -> api_models.Submission:
    """How a submission of the team stands, and its verdict once there is one."""
    with service.store.reading() as session:
        return api_models.submission(session, _own(session, team, ticket))


@router.delete("/submissions/{ticket}", responses={404: SAID[404]})
def withdraw(service: Shared, team: Team, ticket: Ticket) -> api_models.Submission:
    """Withdraw a submission: from the queue, and from the board with its next rendering.

    Its images are deleted.
    """
    with service.store.writing() as session:
        job = _own(session, team, ticket)
        queue.withdraw(session, job.sha256, team.name, team.id)
        answer = api_models.submission(session, job)
    forget(service.store, answer.sha256)
    return answer


def _own(session: Any, team: TeamRow, ticket: str) -> JobRow:
    """A submission of this team; another team's is not there."""
    job: JobRow | None = session.scalars(
        select(JobRow).where(JobRow.ticket == ticket, JobRow.team_id == team.id)
    ).first()
    if job is None:
        raise HTTPException(404, "Your team has no such submission.")
    return job


def _admitted(
    service: Service, team: TeamRow, suite: str, length: str | None, address: str
) -> tuple[int, int]:
    """A reservation for an upload and the most bytes that it may have, or why it is not taken."""
    with service.store.reading() as session:
        row = session.get(SuiteRow, suite)
    if row is None or not api_models.suite(row).accepting or row.most_bytes is None:
        raise HTTPException(
            404,
            "This board takes no submissions to that suite; GET /api/v1/suites lists those it "
            "knows.",
        )
    if length is not None and (not length.isdecimal() or int(length) > row.most_bytes):
        raise HTTPException(413, _too_large(row.most_bytes))
    size = row.most_bytes if length is None else int(length)
    free_bytes = service.shares.disk_left(service.store.folder)
    try:
        with service.store.writing() as session:
            upload = reserve(session, team.id, address, size, free_bytes, service.shares)
    except queue.QuotaUsed:
        raise HTTPException(429, _used(team), {"Retry-After": "3600"}) from None
    except NoShare as e:
        raise HTTPException(503, str(e), {"Retry-After": "5"}) from None
    except OSError:
        raise _disk_full() from None
    return upload, row.most_bytes


def _released(service: Service, upload: int) -> None:
    """Give a reservation back; where the database is gone it expires by itself."""
    with contextlib.suppress(DBAPIError, PoolTimeout), service.store.writing() as session:
        release(session, upload)


def _too_large(most: int) -> str:
    return f"A submission to this suite has at most {most:,} bytes."


def _used(team: TeamRow) -> str:
    return (
        f"{team.name} has used its {team.per_day} submissions of this day (UTC); try again "
        "tomorrow."
    )


def _disk_full() -> HTTPException:
    return HTTPException(507, "The board's disk is full; try again later.", {"Retry-After": "300"})


async def _received(service: Service, request: Request, most: int, upload: int) -> Received:
    def alive() -> None:
        """Renew the reservation of the upload."""
        with service.store.writing() as session:
            renew(session, upload)

    try:
        return await receive(
            request.stream(), service.store.folder / UPLOADS, most, service.patience, alive
        )
    except TooLarge:
        raise HTTPException(413, _too_large(most)) from None
    except TooSlow:
        raise HTTPException(408, "The upload was too slow, or stood still; try again.") from None
    except NoArchive:
        raise HTTPException(
            400,
            "This is no zip archive, or it is cut; submit what `lorweb-bench leaderboard pack` "
            "wrote. It costs no submission.",
        ) from None
    except ClientDisconnect:
        raise HTTPException(400, "The upload was cut.") from None
    except OSError as e:
        if e.errno not in (*FULL, errno.EIO):
            raise
        raise _disk_full() from None


def _queued(
    service: Service, team: TeamRow, suite: str, received: Received, name: str, upload: int
) -> tuple[api_models.Submission, bool]:
    """Queue a whole upload.

    Its file gets its name within the transaction, so that a job has its archive, whatever dies
    when.
    """
    arguments = service, team, suite, received, name, upload
    try:
        try:
            return _enqueued(*arguments)
        except IntegrityError:  # the same bytes came at the same moment
            return _enqueued(*arguments)
    except queue.QuotaUsed:
        raise HTTPException(429, _used(team), {"Retry-After": "3600"}) from None
    except queue.NotYours:
        raise HTTPException(
            409,
            "These very bytes are on this board already, and somebody else's; if they are yours, "
            "tell the keeper.",
        ) from None
    except queue.StruckOff:
        raise HTTPException(
            409, "The keeper took this very submission off the board; ask why."
        ) from None
    except queue.NotOpen:
        raise HTTPException(404, "This board no longer takes submissions to that suite.") from None
    finally:
        received.path.unlink(missing_ok=True)


def _enqueued(
    service: Service, team: TeamRow, suite: str, received: Received, name: str, upload: int
) -> tuple[api_models.Submission, bool]:
    with service.store.writing() as session:
        job, new = queue.enqueue(
            session,
            team.id,
            suite,
            received.sha256,
            received.bytes,
            "".join(c for c in name if c.isprintable()),
            upload,
        )
        if new:
            received.keep(service.store.upload(received.sha256))
        return api_models.submission(session, job), new
