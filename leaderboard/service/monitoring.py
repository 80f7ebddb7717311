"""What a keeper's tools look at: health, Prometheus metrics, and logs with a JSON object a line."""

import json
import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from leaderboard.service import api_models, queue
from leaderboard.service.uploads import Shares
from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SubmissionRow, WorkerRow

BEHIND = 3600.0  # seconds that a job waits before the service calls itself behind
LONG = 500  # jobs that make a queue a long one
ALIVE = 60.0  # seconds after which a worker that says nothing has stopped
PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def health_of(store: Store, shares: Shares) -> api_models.Health:
    """Whether the service works: its database, disk, queue and workers."""
    free = shutil.disk_usage(store.folder).free
    problems = ["the disk is nearly full"] if shares.disk_left(store.folder) <= 0 else []
    try:
        counts, oldest, workers = _state(store)
    except (DBAPIError, PoolTimeout):
        problems = ["the database cannot be used", *problems]
        return api_models.Health(
            status="; ".join(problems), problems=problems, database=False, disk_free_bytes=free
        )
    queued, running = counts.get("queued", 0), counts.get("running", 0)
    waited = (queue.now() - oldest).total_seconds() if oldest else 0.0
    behind = waited > BEHIND
    if not workers and (queued or running):
        problems.append("no worker is running")
    if behind:
        problems.append("the queue is behind; is a worker running?")
    if queued > LONG:
        problems.append(f"the queue is long: {queued} wait")
    return api_models.Health(
        status="; ".join(problems) or "ok",
        problems=problems,
        database=True,
        disk_free_bytes=free,
        queued=queued,
        running=running,
        oldest_seconds=round(waited, 1),
        behind=behind,
        workers=workers,
    )


def _state(store: Store) -> tuple[dict[str, int], datetime | None, int]:
    """The open jobs by status, since when the first of them waits, and how many workers live."""
    with store.reading() as session:
        by_status = (
            select(JobRow.status, func.count())
            .where(JobRow.status.in_(queue.OPEN))
            .group_by(JobRow.status)
        )
        counts = {row[0]: row[1] for row in session.execute(by_status)}
        oldest = session.scalar(
            select(func.min(JobRow.received)).where(JobRow.status.in_(queue.OPEN))
        )
        alive = WorkerRow.seen > queue.now() - timedelta(seconds=ALIVE)
        workers = session.scalar(select(func.count()).select_from(WorkerRow).where(alive)) or 0
    return counts, oldest, workers


class BoardCollector(Collector):
    """The state of a board, read from its database whenever somebody asks for the metrics."""

    def __init__(self, store: Store, shares: Shares) -> None:
        self.store, self.shares = store, shares

    def collect(self) -> Iterator[Metric]:
        """The gauges; without the database only that it is gone."""
        state = health_of(self.store, self.shares)
        yield _gauge("database_up", "Whether the database can be used.", float(state.database))
        yield _gauge("disk_free_bytes", "Bytes free on the store's disk.", state.disk_free_bytes)
        if not state.database:
            return
        yield _gauge("queued_jobs", "Submissions that wait to be scored.", state.queued or 0)
        yield _gauge("running_jobs", "Submissions that are being scored.", state.running or 0)
        oldest = state.oldest_seconds or 0.0
        yield _gauge("oldest_job_seconds", "How long the first of the queue has waited.", oldest)
        yield _gauge("workers", "Workers that are alive.", state.workers or 0)
        with self.store.reading() as session:
            flagged = session.scalar(
                select(func.count())
                .select_from(SubmissionRow)
                .where(SubmissionRow.flag.is_not(None), SubmissionRow.struck.is_(False))
            )
            ended = list(
                session.execute(
                    select(JobRow.status, func.count())
                    .where(JobRow.kind == "score")
                    .group_by(JobRow.status)
                )
            )
        yield _gauge("flagged_submissions", "Submissions to look at.", flagged or 0)
        by_status = GaugeMetricFamily(
            "lorweb_bench_board_submissions", "Submissions by how they stand.", labels=["status"]
        )
        for status, count in ended:
            by_status.add_metric([status], count)
        yield by_status


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lorweb_bench_board_{name}", about, value=value)


class Metrics:
    """The metrics of one process, on an address of their own that no proxy leads to."""

    def __init__(self, store: Store, shares: Shares | None = None) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(BoardCollector(store, shares or Shares()))
        self.requests = Counter(
            "lorweb_bench_board_requests",
            "Answers by method and status.",
            ["method", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "lorweb_bench_board_request_seconds",
            "Seconds until an answer began.",
            registry=self.registry,
        )

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        label = method if method in ("GET", "HEAD", "POST", "DELETE") else "other"
        self.requests.labels(label, str(status)).inc()
        self.seconds.observe(seconds)

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus on a port, in a thread."""
        start_http_server(port, host, registry=self.registry)


class JsonLines(logging.Formatter):
    """A log record as one JSON object: when, how grave, which logger, what, and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        content = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        content |= {name: value for name, value in vars(record).items() if name not in PLAIN}
        if record.exc_info:
            content["error"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False, default=str)


def log_to_stderr(as_json: bool) -> None:
    """Log from INFO on, in lines for people or for programs; uvicorn's loggers too."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(message)s")
    handler.setFormatter(JsonLines() if as_json else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
