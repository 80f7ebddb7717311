"""What the service says, as JSON: the models of its answers, and how they are made from the database."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from leaderboard.board import slug
from leaderboard.disclosure import disclosed
from leaderboard.jobs import used_today
from leaderboard.tables import JobRow, SubmissionRow, SuiteRow, TeamRow, VerdictRow
from lorweb_bench.report import Report, Score

Scores = dict[str, dict[str, Score]]


class Suite(BaseModel):
    """A suite of the board. `standing` says whether its items may be shown; `most_bytes` is the largest archive that is read."""

    name: str
    version: str
    fingerprint: str
    standing: str
    accepting: bool
    items: int
    most_bytes: int | None


class Me(BaseModel):
    """The team that a token belongs to, and what it has left of this UTC day."""

    team: str
    per_day: int
    left_today: int


class Verdict(BaseModel):
    """What the board found. On a private suite the scores are rounded, and of groups with many items alone."""

    level: str
    decided: datetime
    scores: Scores
    rank: tuple[int, int] | None
    page: str


class Submission(BaseModel):
    """A submission on its way. `status`: queued, running, accepted, refused, failed, withdrawn; `before`: those ahead in the queue."""

    id: str
    status: str
    suite: str
    name: str
    sha256: str
    bytes: int
    received: datetime
    finished: datetime | None
    before: int | None
    reason: str | None
    verdict: Verdict | None = None


class Entry(BaseModel):
    """A line of the board. The rank is a range, as of the last rendering; trivial methods and bounds have none."""

    id: int
    suite: str
    method: str
    version: str
    track: str
    prompt_mode: str
    level: str
    decided: datetime
    sha256: str
    rank: tuple[int, int] | None
    scores: Scores


class Entries(BaseModel):
    """Some lines of the board, and where the next ones begin."""

    entries: list[Entry]
    next: int | None


class Health(BaseModel):
    """Whether the service works: `ok`, or what does not. `oldest_seconds` is how long the first of the queue has waited."""

    status: str
    database: bool
    disk_free_bytes: int
    queued: int | None = None
    running: int | None = None
    oldest_seconds: float | None = None
    behind: bool | None = None


class Problem(BaseModel):
    """Why not, in one sentence."""

    detail: str


def suite(row: SuiteRow) -> Suite:
    """A suite as the service tells of it."""
    return Suite(
        name=row.name,
        version=row.version,
        fingerprint=row.fingerprint,
        standing=row.standing,
        accepting=row.accepting and row.standing != "retired",
        items=sum(row.about["splits"].values()),
        most_bytes=row.most_bytes,
    )


def me(session: Session, team: TeamRow) -> Me:
    """A team as it sees itself."""
    return Me(team=team.name, per_day=team.per_day, left_today=max(0, team.per_day - used_today(session, team)))


def submission(session: Session, job: JobRow) -> Submission:
    """A submission as its team sees it."""
    before = None
    if job.status == "queued":
        ahead = select(func.count()).select_from(JobRow).where(JobRow.status == "queued", JobRow.kind == "score", JobRow.id < job.id)
        before = session.scalar(ahead)
    names = ("status", "name", "sha256", "bytes", "received", "finished", "reason")
    told = Submission(id=job.ticket, suite=job.suite_fingerprint, before=before, **{name: getattr(job, name) for name in names})
    if job.status == "accepted":
        found = session.execute(_shown().where(SubmissionRow.sha256 == job.sha256)).first()
        if found:
            told.verdict = Verdict(page=f"/methods/{slug(found[0].method)}.html", **_verdict(*found))
    return told


def entries(session: Session, filters: Mapping[str, str | None], after: int, limit: int) -> Entries:
    """Lines of the board by the order of their coming, from the one after `after`."""
    columns = {"suite": SubmissionRow.suite_fingerprint, "track": SubmissionRow.track, "prompt_mode": SubmissionRow.prompt_mode}
    columns["method"] = SubmissionRow.method
    query = _shown().where(SubmissionRow.id > after).order_by(SubmissionRow.id).limit(limit + 1)
    for name, value in filters.items():
        query = query.where(columns[name] == value) if value is not None else query
    found = list(session.execute(query))
    lines = [_entry(*row) for row in found[:limit]]
    return Entries(entries=lines, next=lines[-1].id if len(found) > limit else None)


def _shown() -> Any:
    """Submissions that are on the board, with their suite and the verdict that counts."""
    return (
        select(SubmissionRow, SuiteRow, VerdictRow)
        .join(SuiteRow, SuiteRow.fingerprint == SubmissionRow.suite_fingerprint)
        .join(VerdictRow, VerdictRow.id == SubmissionRow.last_verdict)
        .where(SubmissionRow.withdrawn.is_(None))
    )


def _entry(row: SubmissionRow, suite: SuiteRow, last: VerdictRow) -> Entry:
    names = ("id", "method", "version", "track", "prompt_mode", "sha256")
    return Entry(suite=suite.fingerprint, **{name: getattr(row, name) for name in names}, **_verdict(row, suite, last))


def _verdict(row: SubmissionRow, suite: SuiteRow, last: VerdictRow) -> dict[str, Any]:
    report = disclosed(Report.model_validate(last.verdict["report"]), suite.standing)
    rank = None if row.rank_low is None or row.rank_high is None else (row.rank_low, row.rank_high)
    return {"level": last.level, "decided": last.decided, "scores": report.scores, "rank": rank}
