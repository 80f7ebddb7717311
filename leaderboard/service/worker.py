"""The worker of a service.

Takes jobs from the queue, has each scored in a process of its own, and records what was found.
"""

import contextlib
import logging
import math
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from leaderboard.service import queue
from leaderboard.service.rendering import (
    EARLIEST,
    SHARE,
    SITE,
    claim_rendering,
    end_rendering,
    renew_rendering,
)
from leaderboard.service.sandbox import (
    FAILURE,
    FULL,
    NO_DISK,
    TABLE,
    VERDICT,
    Limits,
    start_rendering,
    start_scoring,
)
from leaderboard.service.suite_intake import catch_up, suite_of
from leaderboard.store.name_claims import taken
from leaderboard.store.store import A_DAY, UPLOADS, Store, record
from leaderboard.store.tables import JobRow, SiteRow, SubmissionRow, SuiteRow, VerdictRow, WorkerRow
from leaderboard.submission.verify import Verdict, read_verdict
from lorweb_bench.errors import InputError

POLL = 1.0  # seconds between two looks at an empty queue
LOOK = 0.1  # seconds between two looks at a process
SEEN_EVERY = 15.0  # seconds between two signs of life
LATER = 30.0  # seconds until a job is tried again after a full disk or a suite that cannot be read

UNREACHABLE = (
    OperationalError,
    InterfaceError,
    InternalError,
    PoolTimeout,
)  # what the database does, not what we do to it

log = logging.getLogger("lorweb_bench.worker")


class Stopped(Exception):
    """The worker was told to stop."""


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(
        "The database cannot be used (%s); trying again in %.0f s.",
        " ".join(str(getattr(error, "orig", error)).split())[:200],
        state.upcoming_sleep,
    )


@dataclass
class Worker:
    """One worker of a store.

    Several may run beside one another, on one machine or on several that share the folder.
    """

    store: Store
    limits: Limits = field(default_factory=Limits)
    title: str = "Leaderboard of visual analogies"
    lease: float = queue.LEASE
    stopping: bool = False
    render_after: float = 0.0  # while there is something to score, the board waits for this moment
    told: float = -math.inf  # when this worker last said that it is alive
    holder: str = field(
        default_factory=lambda: f"{socket.gethostname()[:30]}-{os.getpid()}-{secrets.token_hex(4)}"
    )

    def run(self, until_empty: bool = False) -> None:
        """Work until stopped, or until there is nothing left to score or to render.

        SIGTERM and Ctrl-C put the job back.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with contextlib.suppress(Stopped):
            self._patiently(lambda: catch_up(self.store))
            self._sweep()
            while not self.stopping:
                self._patiently(self._seen)
                if time.monotonic() >= self.render_after:
                    self._patiently(self._render)
                if self._patiently(self._one) or self._patiently(self._render):
                    continue
                if until_empty and self._patiently(self._nothing_left):
                    break
                self._sleep(POLL)
        self._gone()

    def _stop(self, *_: Any) -> None:
        self.stopping = True

    def _sleep(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not self.stopping:
            time.sleep(min(LOOK, seconds))

    def _patiently(self, work: Callable[[], Any]) -> Any:
        """Do a piece of work, again and again while the database cannot be reached."""
        patient = Retrying(
            retry=retry_if_exception_type(UNREACHABLE),
            wait=wait_exponential(multiplier=0.5, max=15.0),
            before_sleep=_log_retry,
            sleep=self._pause,
        )
        return patient(work)

    def _pause(self, seconds: float) -> None:
        """Wait before another try. Stopped when the worker is told to stop meanwhile."""
        self._sleep(seconds)
        if self.stopping:
            raise Stopped

    def _seen(self) -> None:
        """Tell the others now and then that this worker is alive."""
        if time.monotonic() - self.told < SEEN_EVERY:
            return
        with self.store.writing() as session:
            session.merge(WorkerRow(holder=self.holder, seen=queue.now()))
            session.execute(
                delete(WorkerRow).where(WorkerRow.seen < queue.now() - timedelta(seconds=A_DAY))
            )
        self.told = time.monotonic()

    def _gone(self) -> None:
        """Say goodbye, so that nobody takes this worker for one that broke off."""
        with contextlib.suppress(*UNREACHABLE), self.store.writing() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.holder == self.holder))

    def _nothing_left(self) -> bool:
        with self.store.reading() as session:
            if (
                session.scalars(
                    select(JobRow.id).where(JobRow.status.in_(queue.OPEN)).limit(1)
                ).first()
                is not None
            ):
                return False
            state = session.scalars(select(SiteRow)).one()
            return state.revision == state.rendered

    def _one(self) -> bool:
        """Take a job and bring it to its end; False where there was none."""
        with self.store.writing() as session:
            job = queue.claim(session, self.holder, self.lease)
            suite = session.get_one(SuiteRow, job.suite_fingerprint) if job else None
        if job is None or suite is None:
            return False
        log.info(
            "%s: scoring %s for %s %s, attempt %d.",
            job.ticket,
            job.sha256[:12],
            suite.name,
            suite.version,
            job.attempts,
        )
        try:
            self._score(job, suite)
        except queue.LostLease:
            self._patiently(lambda: forget(self.store, job.sha256))
            log.info("%s: withdrawn, or taken by another worker.", job.ticket)
        return True

    def _score(self, job: JobRow, suite: SuiteRow) -> None:
        if self._known(job, suite):
            return self._end(job, "accepted")
        archive = self.store.upload(job.sha256)
        archive = archive if archive.is_file() else self.store.archive(job.sha256)
        if not archive.is_file():
            return self._end(
                job, "failed", "The archive is gone from the board's disk; submit it again."
            )
        try:
            suite_of(suite)
            with self.store.incoming() as folder:
                process = start_scoring(
                    archive, job.name, Path(suite.path or ""), folder, self.limits
                )
                late = self._wait(process, job)
                self._found(job, process.exitcode, late, folder, archive)
        except InputError as e:
            self._put_back(job, str(e))
        except OSError as e:
            if e.errno not in FULL:
                raise
            self._put_back(job, "the disk is full")

    def _known(self, job: JobRow, suite: SuiteRow) -> bool:
        """Whether the archive stands on the board already, scored as it would be now.

        The keeper added it.
        """
        if job.kind != "score":
            return False
        last = (
            select(VerdictRow.scoring)
            .join(SubmissionRow, SubmissionRow.last_verdict == VerdictRow.id)
            .where(
                SubmissionRow.sha256 == job.sha256,
                SubmissionRow.withdrawn.is_(None),
                VerdictRow.scoring == suite.scoring,
            )
        )
        with self.store.reading() as session:
            return (
                session.scalars(last).first() is not None
                and self.store.archive(job.sha256).is_file()
            )

    def _wait(self, process: BaseProcess, job: JobRow) -> bool:
        """Wait for a process and hold its job meanwhile.

        True where it took too long and was killed. Stopped puts the job back.
        """
        ends, renewed = time.monotonic() + self.limits.seconds, time.monotonic()
        try:
            while process.is_alive() and time.monotonic() < ends:
                process.join(LOOK)
                if self.stopping:
                    self._put_back(job, "the worker was stopped", seconds=0.0)
                    raise Stopped
                if time.monotonic() - renewed > self.lease / 4:
                    renewed = time.monotonic()
                    self._renew(job)
                with contextlib.suppress(*UNREACHABLE):
                    self._seen()
            return process.is_alive()
        finally:
            process.kill()
            process.join()

    def _renew(self, job: JobRow) -> None:
        try:
            with self.store.writing() as session:
                queue.renew(session, job.id, self.holder, self.lease)
        except UNREACHABLE:
            log.warning("%s: the lease could not be renewed; going on.", job.ticket)

    def _found(
        self, job: JobRow, code: int | None, late: bool, folder: Path, archive: Path
    ) -> None:
        """Record how scoring ended."""
        if late or code == -signal.SIGXCPU:
            return self._end(
                job,
                "failed",
                f"Scoring took longer than the {self.limits.seconds:.0f} seconds that it may take.",
            )
        if code == 0:
            verdict = read_verdict(folder / VERDICT)
            return (
                self._record(job, verdict, folder, archive)
                if verdict.accepted
                else self._end(job, "refused", verdict.reasons[0])
            )
        if code == NO_DISK:
            return self._put_back(job, "the disk is full")
        if (folder / FAILURE).is_file():
            return self._put_back(job, (folder / FAILURE).read_text())
        if job.attempts >= queue.ATTEMPTS:
            memory = self.limits.memory / 2**30
            return self._end(
                job,
                "failed",
                f"Scoring it broke off {job.attempts} times; it may use {memory:.0f} GiB of "
                "memory.",
            )
        log.warning("%s: the process that scored it ended with %s.", job.ticket, code)
        return self._put_back(job, f"its process ended with {code}", seconds=1.0, counts=True)

    def _record(self, job: JobRow, verdict: Verdict, folder: Path, archive: Path) -> None:
        """Keep the files, then the verdict and the end of the job in one transaction."""
        target = self.store.archive(job.sha256)
        target.parent.mkdir(exist_ok=True)
        if archive != target:
            with contextlib.suppress(FileExistsError):
                os.link(archive, target)
        values = self.store.keep_values(folder / TABLE)

        method = verdict.card.method if verdict.card else ""

        def write() -> str | None:
            """Record the submission and end the job; the reason where it is refused."""
            with self.store.writing() as session:
                held_job = queue.held(session, job.id, self.holder)
                why = taken(session, method, held_job.team_id) if held_job.kind == "score" else None
                if why is None:
                    record(
                        self.store, session, verdict, job.sha256, values, job.id, held_job.team_id
                    )
                queue.end(session, held_job, "refused" if why else "accepted", why)
            return why

        why = self._patiently(write)
        log.info("%s: %s", job.ticket, f"refused: {why}" if why else "accepted")
        self._patiently(lambda: forget(self.store, job.sha256))

    def _end(self, job: JobRow, status: str, reason: str | None = None) -> None:
        def write() -> None:
            """End the job with a status and a reason."""
            with self.store.writing() as session:
                queue.end(session, queue.held(session, job.id, self.holder), status, reason)

        self._patiently(write)
        log.info("%s: %s%s", job.ticket, status, f": {reason}" if reason else "")
        self._patiently(lambda: forget(self.store, job.sha256))

    def _put_back(
        self, job: JobRow, why: str, seconds: float = LATER, counts: bool = False
    ) -> None:
        def write() -> None:
            """Put the job back into the queue."""
            with self.store.writing() as session:
                held_job = queue.held(session, job.id, self.holder)
                queue.release(session, held_job, seconds, why)
                held_job.attempts += counts

        log.warning("%s: put back: %s", job.ticket, why)
        with contextlib.suppress(*UNREACHABLE):  # then the lease ends by itself
            write()

    def _sweep(self) -> None:
        """Delete uploads that no job waits for.

        Of a worker, or a server, that was killed before it could.
        """
        for path in (self.store.folder / UPLOADS).glob("*"):
            with self.store.reading() as session:
                referenced = path.suffix == ".zip" and bool(queue.of_archive(session, path.stem))
            if referenced:
                forget(self.store, path.stem)
            elif time.time() - path.stat().st_mtime > A_DAY:
                path.unlink(missing_ok=True)

    def _render(self) -> bool:
        """Render the site where the board has changed; False where there was nothing to do."""
        revision = claim_rendering(self.store, self.lease)
        if revision is None:
            return False
        started = time.monotonic()
        process = start_rendering(
            self.store.folder, self.store.url, self.store.folder / SITE, self.title
        )
        renewed = started
        while process.is_alive() and not self.stopping:
            process.join(LOOK)
            if time.monotonic() - renewed > self.lease / 4:
                renewed = time.monotonic()
                with contextlib.suppress(*UNREACHABLE):
                    renew_rendering(self.store, self.lease)
        process.kill()
        process.join()
        seconds = time.monotonic() - started
        done = process.exitcode == 0
        if done:
            log.info("Rendered the board in %.1f s.", seconds)
        elif not self.stopping:
            why = (
                "the disk is full"
                if process.exitcode == NO_DISK
                else f"exit code {process.exitcode}"
            )
            log.error("The board could not be rendered (%s); its last pages stay.", why)
        self.render_after = time.monotonic() + max(EARLIEST, SHARE * seconds)
        end_rendering(self.store, revision if done else None)
        if not done:
            self._sleep(EARLIEST)
        return done


def forget(store: Store, sha256: str) -> None:
    """Delete what lies on the disk of an archive that is no longer needed there.

    The upload, and what was withdrawn.
    """
    with store.writing() as session:
        queue.of_archive(
            session, sha256
        )  # locked, so nobody queues it again meanwhile; who just did is seen by the next question
        if queue.waiting(session, sha256):
            return
        store.upload(sha256).unlink(missing_ok=True)
        if not queue.shown(session, sha256):
            store.archive(sha256).unlink(missing_ok=True)
