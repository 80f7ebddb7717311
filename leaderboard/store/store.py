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

from leaderboard.store import ladder
from leaderboard.store.audit import KEEPER, WORKER, note
from leaderboard.store.database import Database
from leaderboard.store.name_claims import skeleton, taken
from leaderboard.store.suites import check_answers, suite_row
from leaderboard.store.tables import SubmissionRow, SuiteRow, TeamRow, VerdictRow, changed
from leaderboard.store.teams import named
from leaderboard.submission.card import Card
from leaderboard.submission.submission import most_bytes, sizes_of
from leaderboard.submission.verify import Verdict, keeping, require_full, says_the_same, verify
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import SuiteId
from lorweb_bench.reports.report import Report, headline_of, read_per_sample, write_per_sample
from lorweb_bench.runtime.files import canonical_json, contents_of, sha256_file

DATABASE = "board.sqlite"
UPLOADS = "uploads"
A_DAY = 24 * 3600
SUSPICIOUS_METRIC, SUSPICIOUS = "edit_recovery", 0.98


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
    team: str | None = None  # its owner; None is the keeper


class Store:
    """A board's store in a folder.

    `board.sqlite`, `submissions/<sha256>.zip`, `per_sample/<sha256>.parquet`.

    `url` is the address of another database, as `postgresql://user@host/name`; the files stay in
    the folder. Opening brings the schema up to date. InputError when the folder or the database
    cannot be used.
    """

    def __init__(self, folder: Path | str, url: str | None = None, create: bool = True) -> None:
        self.folder = Path(folder)
        there = self.folder.exists() and (not self.folder.is_dir() or contents_of(self.folder))
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
        self.snapshot = self.database.snapshot

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
        team: str | None = None,
    ) -> Added:
        """Verify a submission and record it, all or nothing.

        One that is there already is not scored or recorded again, and a refused one leaves no
        trace.

        Args:
            path: The archive.
            suite: The full view of the suite that it is for.
            reproduction: The keeper's own report (see `verify`); one that is there already gets a
                second verdict, `reproduced`.
            workers: Processes that score.
            training: Declared training datasets, to be searched for leaks; one that is there
                already gets a verdict that says what was found.
            team: The name of the team that owns it; None is the keeper.

        Raises:
            InputError: As of `verify`, and when the store knows the suite with other answers, or
                the team does not exist or cannot have the method's name.
        """
        path = Path(path)
        self._check(path, suite)
        if path.stat().st_size > most_bytes(sizes_of(suite)):
            return Added(verify(path, suite), new=False)
        with self.incoming() as folder:
            copy = _copied(path, folder)  # nobody changes it between the check and the scoring
            digest = sha256_file(copy)
            earlier = self.find(digest)
            if earlier is not None and self.archive(digest).is_file():
                reproduces = reproduction is not None and earlier.level != "reproduced"
                if not training and not reproduces:
                    return Added(earlier, new=False)
            verdict = verify(copy, suite, reproduction, workers, training)
            verdict = verdict.model_copy(update={"submission": path.name})
            if not verdict.accepted or verdict.report is None:
                return Added(verdict, new=False)
            values = self._keep_files(folder, copy, digest, verdict.report)
        try:
            new = self._record_added(suite, verdict, digest, values, team)
        except IntegrityError:  # the same archive was recorded at the same moment
            new = False
        return Added(self.find(digest) or verdict, new)

    def _keep_files(self, folder: Path, copy: Path, digest: str, report: Report) -> str:
        """Keep the values by item and the archive; the name of the table of values."""
        table = folder / "per_sample.parquet"
        write_per_sample(table, report.per_sample or {})
        values = self.keep_values(table)
        self.archive(digest).parent.mkdir(exist_ok=True)
        copy.replace(self.archive(digest))
        return values

    def _record_added(
        self, suite: Dataset, verdict: Verdict, digest: str, values: str, team: str | None
    ) -> bool:
        method = verdict.card.method if verdict.card else ""
        with self.writing() as session:
            owner = None if team is None else named(session, team).id
            if team is not None and (why := taken(session, method, owner)):
                raise InputError(why)
            if session.get(SuiteRow, suite.fingerprint) is None:
                session.add(suite_row(session, suite))
            new = record(self, session, verdict, digest, values, None, owner)
            if new:
                note(session, KEEPER, "added", digest, method=method, level=verdict.level)
        return new

    def keep_values(self, table: Path) -> str:
        """Move a table of per-item values to where it stays; gives back its name."""
        values = sha256_file(table)
        self.per_sample(values).parent.mkdir(exist_ok=True)
        table.replace(self.per_sample(values))
        return values

    def entries(self, withdrawn: bool = False) -> list[Entry]:
        """What counts, oldest first, each with its last verdict.

        What was scored against answers that were replaced does not count, nor what the keeper
        struck off. What a team withdrew is given with `withdrawn` alone.
        """
        query = (
            select(SubmissionRow, SuiteRow, VerdictRow, TeamRow.name)
            .join(SuiteRow, SuiteRow.fingerprint == SubmissionRow.suite_fingerprint)
            .join(VerdictRow, VerdictRow.id == SubmissionRow.last_verdict)
            .outerjoin(TeamRow, TeamRow.id == SubmissionRow.team_id)
            .where(SubmissionRow.struck.is_(False))
            .order_by(SubmissionRow.id)
        )
        if not withdrawn:
            query = query.where(SubmissionRow.withdrawn.is_(None))
        with self.reading() as session:
            entries = [self._entry(*row) for row in session.execute(query)]
        return [
            entry
            for entry in entries
            if entry.verdict.targets_fingerprint == entry.suite.targets_fingerprint
        ]

    def _entry(
        self, row: SubmissionRow, suite: SuiteRow, last: VerdictRow, team: str | None
    ) -> Entry:
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
            team,
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
    store: Store,
    session: Session,
    verdict: Verdict,
    digest: str,
    values: str,
    job: int | None = None,
    team_id: int | None = None,
) -> bool:
    """Record an accepted submission to a known suite.

    Args:
        store: Where the tables of per-item values lie.
        session: A transaction that writes.
        verdict: What was found.
        digest: The sha256 of the archive.
        values: The name of its table of per-item values.
        job: The job that scored it.
        team_id: The owner of a new submission; None is the keeper.

    Returns:
        False where it stands there at that level, scored in the same way.
    """
    report, card = verdict.report, verdict.card
    if report is None or card is None or verdict.level is None:
        raise ValueError("only an accepted submission is recorded")
    submission = session.scalars(
        select(SubmissionRow).where(SubmissionRow.sha256 == digest)
    ).first()
    last = _last_verdict(session, submission)
    earlier = Verdict.model_validate(last.verdict) if last else None
    verdict = keeping(verdict, earlier) if earlier else verdict
    if submission is not None and submission.withdrawn is not None:
        submission.withdrawn, submission.struck = None, False
        changed(session)
    scoring = scoring_of(verdict)
    same = earlier is not None and says_the_same(earlier, verdict)
    if last and job is None and same and last.scoring in (None, scoring):
        return False
    if submission is None:
        submission = _new_submission(verdict, report, card, digest, team_id)
        with session.no_autoflush:
            submission.held = _held(store, session, submission, report, values)
            submission.flag = _flag(session, submission, report)
    submission.pixels = verdict.pixels or submission.pixels
    _add_verdict(session, submission, verdict, values, scoring, job)
    return True


def _add_verdict(
    session: Session,
    submission: SubmissionRow,
    verdict: Verdict,
    values: str,
    scoring: str | None,
    job: int | None,
) -> None:
    """Add a verdict to its submission, as the one that counts."""
    row = VerdictRow(
        decided=verdict.decided,
        level=verdict.level,
        verdict=verdict.model_dump(mode="json"),
        per_sample=values,
        scoring=scoring,
        job_id=job,
        submission=submission,
    )
    session.add_all([submission, row])
    session.flush()
    submission.last_verdict = row.id
    changed(session)


def _new_submission(
    verdict: Verdict, report: Report, card: Card, digest: str, team_id: int | None
) -> SubmissionRow:
    return SubmissionRow(
        sha256=digest,
        bytes=verdict.bytes,
        received=verdict.decided,
        suite_fingerprint=report.suite.fingerprint,
        method=card.method,
        version=card.version or "",
        track=report.track,
        prompt_mode=report.prompt_mode,
        exemplars=report.exemplars,
        card=card.model_dump(mode="json"),
        team_id=team_id,
        name_key=skeleton(card.method),
        pixels=verdict.pixels,
        struck=False,
    )


def _last_verdict(session: Session, submission: SubmissionRow | None) -> VerdictRow | None:
    if submission is None or submission.last_verdict is None:
        return None
    return session.get(VerdictRow, submission.last_verdict)


def _held(
    store: Store, session: Session, submission: SubmissionRow, report: Report, values: str
) -> str | None:
    """Why the scores of a new submission are held; see `ladder`."""
    headline = headline_of(report.metrics)
    score = report.scores.get(ladder.GROUP, {}).get(headline or "")
    if submission.team_id is None or headline is None or score is None:
        return None

    def values_of(one: SubmissionRow) -> dict[str, float]:
        """The headline of each item of an earlier submission, by key."""
        verdict = session.get_one(VerdictRow, one.last_verdict)
        return _by_key(store.per_sample(verdict.per_sample), headline)

    return ladder.decide(
        session,
        submission,
        headline,
        score.higher_is_better,
        score.mean,
        _by_key(store.per_sample(values), headline),
        values_of,
    )


def _by_key(table: Path, metric: str) -> dict[str, float]:
    columns = read_per_sample(table)
    if metric not in columns:
        return {}
    return dict(zip(columns["key"].tolist(), columns[metric].astype(float).tolist(), strict=True))


def _flag(session: Session, submission: SubmissionRow, report: Report) -> str | None:
    """What the keeper should look at: a score on a private suite that no honest method has."""
    suite = session.get_one(SuiteRow, submission.suite_fingerprint)
    score = report.scores.get(ladder.GROUP, {}).get(SUSPICIOUS_METRIC)
    if suite.standing != "private" or score is None or score.mean < SUSPICIOUS:
        return None
    flag = f"{SUSPICIOUS_METRIC} on {ladder.GROUP} is {score.mean:.3f}: are the answers known?"
    note(session, WORKER, "flagged", submission.sha256, why=flag)
    return flag


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
