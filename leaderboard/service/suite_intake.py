"""Suites that a service takes submissions to.

Where they lie, how large an archive may be, and what a change of one sets off.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.service.queue import enqueue_again
from leaderboard.store.audit import KEEPER, WORKER, note
from leaderboard.store.store import Store, scoring_identity
from leaderboard.store.suites import Standing, about, check_answers, secret_of, suite_row
from leaderboard.store.tables import SuiteRow, changed
from leaderboard.submission.submission import most_bytes, sizes_of
from leaderboard.submission.verify import require_full
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import choose_metrics
from lorweb_bench.predictions.format import suite_id
from lorweb_bench.runtime.environment import environment


@dataclass(frozen=True)
class Taken:
    """What `take` did: whether submissions are taken now, and how many are scored again."""

    accepting: bool
    queued: int


def scoring_for(suite: Dataset) -> str:
    """What a verdict on this suite would be scored with today."""
    metrics = [metric.identity for metric in choose_metrics(None, suite).metrics]
    return scoring_identity(
        suite_id(suite),
        suite.manifest.targets_fingerprint,
        metrics,
        environment()["lorweb-bench"],
    )


def take(
    store: Store,
    suite: Dataset,
    accepting: bool | None = None,
    replace: bool = False,
    again: bool = False,
    standing: Standing = "private",
) -> Taken:
    """Take submissions to a suite from now on, or with `accepting` False no more.

    None leaves that as it is.

    `standing` is that of a suite that is new to the store. Where the suite lies is noted, for the
    workers.

    With `replace` the suite comes in the place of the same inputs with other answers, labels or
    version number, and everything that was accepted is queued to be scored again; `again` does that
    in any case. InputError for a public view, and for other answers without `replace`.
    """
    require_full(suite)
    scoring, most = scoring_for(suite), most_bytes(sizes_of(suite))
    with store.writing() as session:
        row = session.get(SuiteRow, suite.fingerprint)
        if not replace:
            check_answers(row, suite)
        if row is None:
            row = suite_row(session, suite, standing)
            session.add(row)
        if (row.accepting or accepting) and row.standing == "private":
            row.secret = secret_of(session, suite)
        if replace:
            _replace_answers(row, suite)
        row.path, row.most_bytes, row.scoring = str(suite.path.resolve()), most, scoring
        row.accepting = bool(row.accepting) if accepting is None else accepting
        if row.accepting and row.standing == "retired":
            raise InputError(
                f"{row.name} {row.version} is retired in {store.folder}: its items may be shown, "
                "so it takes no submissions."
            )
        session.flush()
        _note_intake(session, row, suite)
        queued = enqueue_again(session, row, scoring, KEEPER, all_of_it=again)
        changed(session)
        return Taken(row.accepting, queued)


def _replace_answers(row: SuiteRow, suite: Dataset) -> None:
    """Give a suite's row the answers, the labels and the version of `suite`."""
    row.targets_fingerprint = suite.manifest.targets_fingerprint or ""
    row.name, row.version = suite.name, suite.version
    row.about = about(suite)


def _note_intake(session: Session, row: SuiteRow, suite: Dataset) -> None:
    """Write to the audit log whether submissions to a suite are taken from now on."""
    note(
        session,
        KEEPER,
        "suite-taken" if row.accepting else "suite-closed",
        suite.fingerprint,
        name=suite.name,
        version=suite.version,
        answers=row.targets_fingerprint,
    )


def declare(store: Store, suite: Dataset, standing: Standing) -> Standing:
    """Say what may be shown of a suite, and give back what held before.

    The suite need not be in the store yet.

    `private`: nothing of its items. `public`: all of them. `retired`: all of them, and it takes no
    more submissions. What was private is retired before it is shown, and what was shown stays
    shown: InputError for any other change.
    """
    if suite.public:
        raise InputError(f"{suite.path} is a public view; give the suite's full view.")
    with store.writing() as session:
        row = session.get(SuiteRow, suite.fingerprint)
        check_answers(row, suite)
        note(
            session,
            KEEPER,
            f"suite-{standing}",
            suite.fingerprint,
            name=suite.name,
            version=suite.version,
        )
        if row is None:
            session.add(suite_row(session, suite, standing))
            return standing
        before: Standing = row.standing  # type: ignore[assignment]
        if standing not in (before, "retired"):
            raise InputError(
                f"{row.name} {row.version} is {before} in this store and cannot become {standing}: "
                + (
                    "retire it to show its items."
                    if before == "private"
                    else "its items may have been shown."
                )
            )
        if standing != before:
            row.standing = standing
            changed(session)
    return before


def catch_up(store: Store) -> int:
    """Queue what was scored with other metrics, or by another version of ours, than this process
    would use. How many.
    """
    with store.reading() as session:
        rows = list(session.scalars(select(SuiteRow).where(SuiteRow.path.is_not(None))))
    queued = 0
    for row in rows:
        scoring = scoring_for(suite_of(row))
        with store.writing() as session:
            current = session.get_one(SuiteRow, row.fingerprint)
            current.scoring = scoring
            queued += enqueue_again(session, current, scoring, WORKER)
    return queued


def suite_of(row: SuiteRow) -> Dataset:
    """The full view of a suite of the service.

    InputError when it is gone, or not what the store knows.
    """
    suite = open_suite(Path(row.path or ""))
    if (
        suite.fingerprint != row.fingerprint
        or suite.manifest.targets_fingerprint != row.targets_fingerprint
    ):
        raise InputError(
            f"{suite.path} is not the {row.name} {row.version} of this store; `lorweb-bench "
            "leaderboard suite` takes it."
        )
    return suite
