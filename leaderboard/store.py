"""The store of a board: what was verified, in a database; archives and per-item values as files named by their content."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, select
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import Session

from leaderboard.submission import most_bytes, sizes_of
from leaderboard.suites import check_answers, suite_row
from leaderboard.tables import SubmissionRow, SuiteRow, Table, VerdictRow
from leaderboard.verify import Verdict, require_full, verify
from lorweb_bench.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.files import sha256_file
from lorweb_bench.report import Report, write_per_sample

DATABASE = "board.sqlite"
A_DAY = 24 * 3600
WAIT = 30  # seconds that one writer waits for another


@dataclass(frozen=True)
class Added:
    """What `add` did: the verdict, and whether it is new to the store."""

    verdict: Verdict
    new: bool


@dataclass(frozen=True)
class Entry:
    """An accepted submission as the board shows it: the last verdict, the suite, and where its files lie."""

    submission: SubmissionRow
    suite: SuiteRow
    verdict: Verdict
    report: Report
    archive: Path
    per_sample: Path


class Store:
    """A board's store in a folder: `board.sqlite`, `submissions/<sha256>.zip`, `per_sample/<sha256>.parquet`.

    `url` is an SQLAlchemy address of another database. InputError when the folder or the database cannot be used.
    """

    def __init__(self, folder: Path | str, url: str | None = None, create: bool = True) -> None:
        self.folder = Path(folder)
        there = self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir()))
        if url is None and not (self.folder / DATABASE).is_file() and (there or not create):
            raise InputError(f"{folder} is no store (it has no {DATABASE}); `lorweb-bench leaderboard add` makes one in a new folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.engine = _engine(url or URL.create("sqlite", database=str(self.folder / DATABASE)))
        try:
            Table.metadata.create_all(self.engine)
        except DatabaseError as e:
            raise InputError(f"The database of {folder} cannot be used ({str(e.orig)[:200]}).") from None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed when the block ends well, undone when it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def archive(self, sha256: str) -> Path:
        """Where the archive of a submission lies."""
        return self.folder / "submissions" / f"{sha256}.zip"

    def per_sample(self, digest: str) -> Path:
        """Where a table of per-item values lies."""
        return self.folder / "per_sample" / f"{digest}.parquet"

    def find(self, sha256: str) -> Verdict | None:
        """The last verdict on an archive, or None where the store does not have it."""
        of_archive = select(VerdictRow).join(SubmissionRow).where(SubmissionRow.sha256 == sha256)
        with self.session() as session:
            row = session.scalars(of_archive.order_by(VerdictRow.id.desc()).limit(1)).first()
        return Verdict.model_validate(row.verdict) if row else None

    def add(self, path: Path | str, suite: Dataset, reproduction: Report | None = None, workers: int = 1) -> Added:
        """Verify a submission and record it, all or nothing. One that is there already is not scored or recorded again.

        A refused submission leaves no trace. With a `reproduction` (see `verify`) one that is there already gets a second
        verdict, `reproduced`. InputError as of `verify`, and when the store knows the suite with other answers.
        """
        path = Path(path)
        self._check(path, suite)
        if path.stat().st_size > most_bytes(sizes_of(suite)):
            return Added(verify(path, suite), new=False)
        with self._incoming() as folder:
            copy = _copied(path, folder)  # nobody changes it between the check and the scoring
            digest = sha256_file(copy)
            known = self.find(digest)
            if known is not None and self.archive(digest).is_file() and (reproduction is None or known.level == "reproduced"):
                return Added(known, new=False)
            verdict = verify(copy, suite, reproduction, workers).model_copy(update={"submission": path.name})
            if not verdict.accepted or verdict.report is None:
                return Added(verdict, new=False)
            table = folder / "per_sample.parquet"
            write_per_sample(table, verdict.report.per_sample or {})
            values = sha256_file(table)
            for made, place in ((table, self.per_sample(values)), (copy, self.archive(digest))):
                place.parent.mkdir(exist_ok=True)
                made.replace(place)
        try:
            with self.session() as session:
                new = _record(session, verdict, suite, digest, values)
        except IntegrityError:  # the same archive was recorded at the same moment
            new = False
        return Added(verdict if new else self.find(digest) or verdict, new)

    def entries(self) -> list[Entry]:
        """The accepted submissions, oldest first, each with its last verdict."""
        with self.session() as session:
            rows = session.scalars(select(SubmissionRow).order_by(SubmissionRow.id)).all()
            last = [(row, row.suite, row.verdicts[-1]) for row in rows if row.verdicts]
        return [self._entry(*found) for found in last]

    def _entry(self, row: SubmissionRow, suite: SuiteRow, last: VerdictRow) -> Entry:
        verdict = Verdict.model_validate(last.verdict)
        if verdict.report is None or verdict.card is None:
            raise InputError(f"The verdict {last.id} in {self.folder} has no report; add the submission {row.sha256[:12]} again.")
        return Entry(row, suite, verdict, verdict.report, self.archive(row.sha256), self.per_sample(last.per_sample))

    def _check(self, path: Path, suite: Dataset) -> None:
        require_full(suite)
        if not path.is_file():
            raise InputError(f"{path} is no file; a submission is the zip that `lorweb-bench leaderboard pack` writes.")
        with self.session() as session:
            row = session.get(SuiteRow, suite.fingerprint)
        check_answers(row, suite)
        if row is not None and row.standing == "retired":
            raise InputError(f"{row.name} {row.version} is retired in {self.folder}: its items may be shown, so nothing is scored on it.")

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """A folder within the store for what is not yet verified."""
        for stale in self.folder.glob("incoming-*"):
            if time.time() - stale.stat().st_mtime > A_DAY:  # left by a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="incoming-") as folder:
            yield Path(folder)


def _copied(path: Path, folder: Path) -> Path:
    try:
        return shutil.copyfile(path, folder / "submission.zip")
    except OSError as e:
        raise InputError(f"{path} cannot be copied into {folder.parent} ({e.strerror}).") from None


def _record(session: Session, verdict: Verdict, suite: Dataset, digest: str, values: str) -> bool:
    """Record an accepted submission; False where it stands there at that level already."""
    report, card = verdict.report, verdict.card
    if report is None or card is None or verdict.level is None:
        raise ValueError("only an accepted submission is recorded")
    if session.get(SuiteRow, suite.fingerprint) is None:
        session.add(suite_row(suite))
    submission = session.scalars(select(SubmissionRow).where(SubmissionRow.sha256 == digest)).first()
    if submission is not None and submission.verdicts[-1].level == verdict.level:
        return False
    submission = submission or SubmissionRow(
        sha256=digest,
        bytes=verdict.bytes,
        received=verdict.decided,
        suite_fingerprint=suite.fingerprint,
        method=card.method,
        version=card.version or "",
        track=report.track,
        prompt_mode=report.prompt_mode,
        card=card.model_dump(mode="json"),
    )
    content = verdict.model_dump(mode="json")
    submission.verdicts.append(VerdictRow(decided=verdict.decided, level=verdict.level, verdict=content, per_sample=values))
    session.add(submission)
    return True


def _engine(url: str | URL) -> Engine:
    try:
        engine = create_engine(url)
    except Exception as e:  # a wrong address, or a driver that is not installed
        raise InputError(f"The database address cannot be used ({type(e).__name__}: {str(e)[:200]}).") from None
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA busy_timeout = {WAIT * 1000}")

    return engine
