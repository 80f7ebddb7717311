"""The store of a board: what was verified, in a database.

Archives and per-item values as files named by their content.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leaderboard.store.audit import KEEPER, note
from leaderboard.store.database import Database
from leaderboard.store.suites import check_answers, suite_row
from leaderboard.store.tables import SubmissionRow, SuiteRow, VerdictRow, changed
from leaderboard.submission.submission import most_bytes, sizes_of
from leaderboard.submission.verify import Verdict, keeping, require_full, says_the_same, verify
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import SuiteId
from lorweb_bench.reports.report import Report, write_per_sample
from lorweb_bench.runtime.files import canonical_json, sha256_file

DATABASE = "board.sqlite"
UPLOADS = "uploads"
A_DAY = 24 * 3600


@dataclass(frozen=True)
class Added:
    """What `add` did: the verdict, and whether it is new to the store."""

    verdict: Verdict
    new: bool


@dataclass(frozen=True)
class Entry:
    """An accepted submission as the board shows it.

    The last verdict, the suite, and where its files lie.
    """

    submission: SubmissionRow
    suite: SuiteRow
    verdict: Verdict
    report: Report
    archive: Path
    per_sample: Path


class Store:
    """A board's store in a folder.

    `board.sqlite`, `submissions/<sha256>.zip`, `per_sample/<sha256>.parquet`.

    `url` is the address of another database, as `postgresql://user@host/name`; the files stay in
    the folder. Opening brings the schema up to date. InputError when the folder or the database
    cannot be used.
    """

    def __init__(self, folder: Path | str, url: str | None = None, create: bool = True) -> None:
        self.folder = Path(folder)
        there = self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir()))
        if url is None and not (self.folder / DATABASE).is_file() and (there or not create):
            raise InputError(
                f"{folder} is no store (it has no {DATABASE}); `lorweb-bench leaderboard add` "
                "makes one in a new folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.url = url
        self.database = Database(
            url or URL.create("sqlite", database=str(self.folder / DATABASE)), str(folder)
        )
        self.writing, self.reading = self.database.writing, self.database.reading

    def archive(self, sha256: str) -> Path:
        """Where the archive of a submission lies."""
        return self.folder / "submissions" / f"{sha256}.zip"

    def per_sample(self, digest: str) -> Path:
        """Where a table of per-item values lies."""
        return self.folder / "per_sample" / f"{digest}.parquet"

    def upload(self, sha256: str) -> Path:
        """Where an archive lies that a service received, until it is scored."""
        return self.folder / UPLOADS / f"{sha256}.zip"

    def find(self, sha256: str) -> Verdict | None:
        """The last verdict on an archive, or None where the store does not have it."""
        last = select(VerdictRow).join(SubmissionRow, SubmissionRow.last_verdict == VerdictRow.id)
        with self.reading() as session:
            row = session.scalars(last.where(SubmissionRow.sha256 == sha256)).first()
        return Verdict.model_validate(row.verdict) if row else None

    def add(
        self,
        path: Path | str,
        suite: Dataset,
        reproduction: Report | None = None,
        workers: int = 1,
        training: Sequence[Path] = (),
    ) -> Added:
        """Verify a submission and record it, all or nothing.

        One that is there already is not scored or recorded again.

        A refused submission leaves no trace. With a `reproduction` (see `verify`) one that is there
        already gets a second verdict, `reproduced`; with `training` one that says what was found.
        InputError as of `verify`, and when the store knows the suite with other answers.
        """
        path = Path(path)
        self._check(path, suite)
        if path.stat().st_size > most_bytes(sizes_of(suite)):
            return Added(verify(path, suite), new=False)
        with self.incoming() as folder:
            copy = _copied(path, folder)  # nobody changes it between the check and the scoring
            digest = sha256_file(copy)
            known = self.find(digest)
            nothing_new = (
                known is not None
                and not training
                and (reproduction is None or known.level == "reproduced")
            )
            if known is not None and nothing_new and self.archive(digest).is_file():
                return Added(known, new=False)
            verdict = verify(copy, suite, reproduction, workers, training).model_copy(
                update={"submission": path.name}
            )
            if not verdict.accepted or verdict.report is None:
                return Added(verdict, new=False)
            table = folder / "per_sample.parquet"
            write_per_sample(table, verdict.report.per_sample or {})
            values = self.keep_values(table)
            self.archive(digest).parent.mkdir(exist_ok=True)
            copy.replace(self.archive(digest))
        try:
            with self.writing() as session:
                if session.get(SuiteRow, suite.fingerprint) is None:
                    session.add(suite_row(suite))
                new = record(session, verdict, digest, values)
                if new:
                    note(
                        session,
                        KEEPER,
                        "added",
                        digest,
                        method=verdict.report.method.name,
                        level=verdict.level,
                    )
        except IntegrityError:  # the same archive was recorded at the same moment
            new = False
        return Added(self.find(digest) or verdict, new)

    def keep_values(self, table: Path) -> str:
        """Move a table of per-item values to where it stays; gives back its name."""
        values = sha256_file(table)
        self.per_sample(values).parent.mkdir(exist_ok=True)
        table.replace(self.per_sample(values))
        return values

    def entries(self) -> list[Entry]:
        """What counts, oldest first, each with its last verdict.

        Neither withdrawn nor scored against answers that were replaced.
        """
        found = (
            select(SubmissionRow, SuiteRow, VerdictRow)
            .join(SuiteRow, SuiteRow.fingerprint == SubmissionRow.suite_fingerprint)
            .join(VerdictRow, VerdictRow.id == SubmissionRow.last_verdict)
            .where(SubmissionRow.withdrawn.is_(None))
            .order_by(SubmissionRow.id)
        )
        with self.reading() as session:
            entries = [self._entry(*row) for row in session.execute(found)]
        return [
            entry
            for entry in entries
            if entry.verdict.targets_fingerprint == entry.suite.targets_fingerprint
        ]

    def _entry(self, row: SubmissionRow, suite: SuiteRow, last: VerdictRow) -> Entry:
        verdict = Verdict.model_validate(last.verdict)
        if verdict.report is None or verdict.card is None:
            raise InputError(
                f"The verdict {last.id} in {self.folder} has no report; add the submission "
                f"{row.sha256[:12]} again."
            )
        return Entry(
            row,
            suite,
            verdict,
            verdict.report,
            self.archive(row.sha256),
            self.per_sample(last.per_sample),
        )

    def _check(self, path: Path, suite: Dataset) -> None:
        require_full(suite)
        if not path.is_file():
            raise InputError(
                f"{path} is no file; a submission is the zip that `lorweb-bench leaderboard "
                "pack` writes."
            )
        with self.reading() as session:
            row = session.get(SuiteRow, suite.fingerprint)
        check_answers(row, suite)
        if row is not None and row.standing == "retired":
            raise InputError(
                f"{row.name} {row.version} is retired in {self.folder}: its items may be shown, "
                "so nothing is scored on it."
            )

    @contextmanager
    def incoming(self) -> Iterator[Path]:
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


def record(
    session: Session, verdict: Verdict, digest: str, values: str, job: int | None = None
) -> bool:
    """Record an accepted submission to a known suite.

    False where it stands there at that level, scored in the same way.
    """
    report, card = verdict.report, verdict.card
    if report is None or card is None or verdict.level is None:
        raise ValueError("only an accepted submission is recorded")
    submission = session.scalars(
        select(SubmissionRow).where(SubmissionRow.sha256 == digest)
    ).first()
    last = (
        session.get(VerdictRow, submission.last_verdict)
        if submission and submission.last_verdict
        else None
    )
    known = Verdict.model_validate(last.verdict) if last else None
    verdict = keeping(verdict, known) if known else verdict
    if submission is not None and submission.withdrawn is not None:
        submission.withdrawn = None
        changed(session)
    scoring = scoring_of(verdict)
    if (
        last
        and known
        and job is None
        and says_the_same(known, verdict)
        and last.scoring in (None, scoring)
    ):
        return False
    submission = submission or SubmissionRow(
        sha256=digest,
        bytes=verdict.bytes,
        received=verdict.decided,
        suite_fingerprint=report.suite.fingerprint,
        method=card.method,
        version=card.version or "",
        track=report.track,
        prompt_mode=report.prompt_mode,
        card=card.model_dump(mode="json"),
    )
    content = verdict.model_dump(mode="json")
    row = VerdictRow(
        decided=verdict.decided,
        level=content["level"],
        verdict=content,
        per_sample=values,
        scoring=scoring,
        job_id=job,
        submission=submission,
    )
    session.add_all([submission, row])
    session.flush()
    submission.last_verdict = row.id
    changed(session)
    return True


def scoring_of(verdict: Verdict) -> str | None:
    """What a verdict was scored with; see `scoring_identity`."""
    if verdict.report is None:
        return None
    return scoring_identity(
        verdict.suite,
        verdict.targets_fingerprint,
        verdict.report.metrics,
        verdict.environment["lorweb-bench"],
    )


def scoring_identity(
    suite: SuiteId, targets_fingerprint: str | None, metrics: Iterable[str], version: str
) -> str:
    """A digest of what makes two verdicts comparable.

    The suite's version and answers, the metrics, and our own version.
    """
    parts = [
        suite.name,
        suite.version,
        suite.fingerprint,
        targets_fingerprint,
        sorted(metrics),
        version,
    ]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
