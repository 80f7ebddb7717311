"""What the service says, as JSON.

The models of its answers, and how they are made from the database.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel
from sqlalchemy import Engine, or_, select
from sqlalchemy.orm import Session, defer

from leaderboard.board.board import headline_of
from leaderboard.board.disclosure import GROUPS, disclosed, places
from leaderboard.board.rows import slug
from leaderboard.service import queue
from leaderboard.store.ladder import HELD
from leaderboard.store.tables import JobRow, SubmissionRow, SuiteRow, TeamRow, VerdictRow
from lorweb_bench.reports.report import Report, Score

Scores = dict[str, dict[str, Score]]
KEPT = 5000  # verdicts whose scores are kept in memory
Told = dict[
    tuple[int, str], tuple[str | None, Any]
]  # verdict and standing -> the answers it was scored against, scores
_TOLD: WeakKeyDictionary[Engine, Told] = WeakKeyDictionary()


class Suite(BaseModel):
    """A suite of the board.

    `standing` says whether its items may be shown; `most_bytes` is the largest archive that is
    read.
    """

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


class Headline(BaseModel):
    """The metric that the board is ordered by, and the decimal places that it is told with."""

    metric: str
    places: int


class Verdict(BaseModel):
    """What the board found.

    On a private suite the scores are rounded, and of groups with many items alone.
    """

    level: str
    decided: datetime
    scores: Scores
    headline: Headline
    rank: tuple[int, int] | None
    page: str


class Submission(BaseModel):
    """A submission on its way.

    `status`: queued, running, accepted, refused, failed, withdrawn; `before`: those ahead in the
    queue.
    """

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
    held: str | None = None
    verdict: Verdict | None = None


class Entry(BaseModel):
    """A line of the board.

    The rank is a range, as of the last rendering; trivial methods and bounds have none.
    """

    id: int
    suite: str
    method: str
    version: str
    track: str
    prompt_mode: str
    exemplars: int
    level: str
    decided: datetime
    sha256: str
    rank: tuple[int, int] | None
    scores: Scores


class Entries(BaseModel):
    """Some lines of the board, and where the next ones begin."""

    entries: list[Entry]
    next: int | None


class Waiting(BaseModel):
    """A submission as everybody may know of it: whose it is, and how it stands."""

    team: str
    suite: str
    status: str
    received: datetime
    finished: datetime | None


class Health(BaseModel):
    """Whether the service works: `ok`, or what does not.

    `oldest_seconds` is how long the first of the queue has waited.
    """

    status: str
    problems: list[str]
    database: bool
    disk_free_bytes: int
    queued: int | None = None
    running: int | None = None
    oldest_seconds: float | None = None
    behind: bool | None = None
    workers: int | None = None


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
    return Me(
        team=team.name,
        per_day=team.per_day,
        left_today=max(0, team.per_day - queue.used_today(session, team)),
    )


def submission(session: Session, job: JobRow) -> Submission:
    """A submission as its team sees it."""
    before = queue.ahead_of(session, job) if job.status == "queued" else None
    names = ("status", "name", "sha256", "bytes", "received", "finished", "reason")
    answer = Submission(
        id=job.ticket,
        suite=job.suite_fingerprint,
        before=before,
        **{name: getattr(job, name) for name in names},
    )
    if job.status == "accepted":
        answer.held = _held(session, job)
        record = session.execute(_shown().where(SubmissionRow.sha256 == job.sha256)).first()
        if record and (scores := _told(session, [record])):
            row, suite, last = record
            metric = headline_of(metric for of in scores[last.id].values() for metric in of)
            headline = Headline(metric=metric, places=places(metric, suite.standing))
            page = f"/methods/{slug(row.method)}.html"
            answer.verdict = Verdict(
                page=page, headline=headline, **_verdict(row, last, scores[last.id])
            )
    return answer


def _held(session: Session, job: JobRow) -> str | None:
    """Why the scores of an accepted submission are not told, in a sentence."""
    row = session.execute(
        select(SubmissionRow.held, SuiteRow)
        .join(SuiteRow, SuiteRow.fingerprint == SubmissionRow.suite_fingerprint)
        .where(SubmissionRow.sha256 == job.sha256)
    ).first()
    if row is None or row[0] is None or row[1].standing != "private":
        return None
    return f"It is accepted and counted, and its scores are held: {HELD[row[0]]}."


def public_queue(session: Session, ended: int = 200) -> list[Waiting]:
    """What waits to be scored, in the order of coming; then what ended without coming on the board.

    Args:
        session: A transaction.
        ended: How many of those that ended, the newest first.
    """
    query = (
        select(JobRow, TeamRow.name, SuiteRow.name, SuiteRow.version)
        .join(TeamRow, TeamRow.id == JobRow.team_id)
        .join(SuiteRow, SuiteRow.fingerprint == JobRow.suite_fingerprint)
        .where(JobRow.kind == "score")
    )
    still = query.where(JobRow.status.in_(queue.OPEN)).order_by(JobRow.id)
    gone = query.where(JobRow.status.in_(("refused", "failed", "withdrawn")))
    gone = gone.order_by(JobRow.id.desc()).limit(ended)
    return [
        Waiting(
            team=team,
            suite=f"{suite} {version}",
            status=job.status,
            received=job.received,
            finished=job.finished,
        )
        for job, team, suite, version in (*session.execute(still), *session.execute(gone))
    ]


def entries(
    session: Session, filters: Mapping[str, str | None], after: int, limit: int
) -> dict[str, Any]:
    """Lines of the board by the order of their coming, from the one after `after`.

    As `Entries`, in plain JSON.
    """
    columns = {
        "suite": SubmissionRow.suite_fingerprint,
        "track": SubmissionRow.track,
        "prompt_mode": SubmissionRow.prompt_mode,
    }
    columns["method"] = SubmissionRow.method
    query = _shown().where(SubmissionRow.id > after).order_by(SubmissionRow.id).limit(limit + 1)
    for name, value in filters.items():
        query = query.where(columns[name] == value) if value is not None else query
    records = list(session.execute(query))
    scores = _told(session, records[:limit])
    lines = [
        _entry(row, suite, last, scores[last.id])
        for row, suite, last in records[:limit]
        if last.id in scores
    ]
    return {"entries": lines, "next": records[limit - 1][0].id if len(records) > limit else None}


def _shown() -> Any:
    """Submissions that are on the board, with their suite and the verdict that counts, less its
    long content.
    """
    return (
        select(SubmissionRow, SuiteRow, VerdictRow)
        .join(SuiteRow, SuiteRow.fingerprint == SubmissionRow.suite_fingerprint)
        .join(VerdictRow, VerdictRow.id == SubmissionRow.last_verdict)
        .where(
            SubmissionRow.withdrawn.is_(None),
            or_(SubmissionRow.held.is_(None), SuiteRow.standing != "private"),
        )
        .options(defer(VerdictRow.verdict), defer(SubmissionRow.card), defer(SuiteRow.about))
    )


def _entry(row: SubmissionRow, suite: SuiteRow, last: VerdictRow, scores: Any) -> dict[str, Any]:
    names = ("id", "method", "version", "track", "prompt_mode", "exemplars", "sha256")
    return {
        "suite": suite.fingerprint,
        **{name: getattr(row, name) for name in names},
        **_verdict(row, last, scores),
    }


def _verdict(row: SubmissionRow, last: VerdictRow, scores: Any) -> dict[str, Any]:
    rank = None if row.rank_low is None or row.rank_high is None else (row.rank_low, row.rank_high)
    return {
        "level": last.level,
        "decided": last.decided.isoformat(),
        "scores": scores,
        "rank": rank,
    }


def _told(session: Session, found: Sequence[Any]) -> dict[int, Any]:
    """By verdict the scores that may be shown, less those against answers that were replaced.

    No verdict changes, so they are kept.
    """
    cache = _TOLD.setdefault(session.get_bind().engine, {})
    missing = {
        last.id: suite.standing
        for _, suite, last in found
        if (last.id, suite.standing) not in cache
    }
    query = select(VerdictRow.id, VerdictRow.verdict).where(VerdictRow.id.in_(missing))
    for id_, verdict in session.execute(query) if missing else ():
        report = disclosed(Report.model_validate(verdict["report"]), missing[id_])
        plain = report.model_dump(include={"scores"})["scores"]
        groups = {group: of for group, of in plain.items() if group in GROUPS}
        cache[id_, missing[id_]] = verdict["targets_fingerprint"], groups
    current = {last.id: (suite, cache[last.id, suite.standing]) for _, suite, last in found}
    while len(cache) > KEPT:
        cache.pop(next(iter(cache)), None)
    return {
        id_: scores
        for id_, (suite, (answers, scores)) in current.items()
        if answers == suite.targets_fingerprint
    }
