"""What a team learns of a private suite: little, and bounded, however often it submits.

Every score that is told is an answer to a question about the hidden items. A team that asks often
enough can learn them one by one, or fit them. So of a team's submissions to a private suite only
those are told that move its best by a fixed step, as in the Ladder of Blum and Hardt ("The Ladder:
A Reliable Leaderboard for Machine Learning Competitions", ICML 2015), and no more than a fixed
number of them. The others are held: they are accepted, listed and counted, without scores.

The bound is the one of that paper, by counting what a team can possibly see. With k submissions of
which at most R are told, each in one of L ways, there are at most sum_{r <= R} C(k, r) L^r
transcripts, so the team learns at most the logarithm of that in bits (`bits`). No told mean is then
further from what fresh items would give than `overfitting` says, with the probability that is asked
for, whatever the team does.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.store.tables import SubmissionRow, SuiteRow, TeamRow, VerdictRow
from lorweb_bench.reports.bars import SCALES

GROUP = "unseen"
RUNS = 5  # of one row: further runs with other seeds that are told
NEAR_ITEMS = 0.9  # share of items, beyond which a submission is an earlier one once more
NEAR_VALUE = 0.01  # of the metric's width: what the score of such an item may differ by
# What a team is told does not tell the first two apart: both rest on hidden values.
NOT_BETTER = (
    "it is not better than the best of its team by the step of this suite, or nearly the same as "
    "an earlier submission"
)
HELD = {
    "near": NOT_BETTER,
    "step": NOT_BETTER,
    "spent": "its team has had all the submissions to this suite whose scores are told",
}


def width_of(metric: str) -> float:
    """How far apart the best and the worst value of a metric are; 1 where that is not known."""
    scale = SCALES.get(metric.partition("[")[0])
    return scale.end - scale.start if scale else 1.0


def step_of(metric: str, items: int) -> float:
    """What a submission to a suite has to gain to be told: a quarter of the width over sqrt(items).

    That is about one standard error of a mean over so many items, so less is noise. It depends on
    nothing that is hidden.

    >>> round(step_of("edit_recovery", 400), 3)
    0.025
    """
    return width_of(metric) / (4 * math.sqrt(max(items, 1)))


def bits(submissions: int, releases: int, levels: float) -> float:
    """The most bits that so many submissions tell, of which `releases` at most are told.

    Args:
        submissions: How often the team submits.
        releases: How many of these may be told.
        levels: log2 of the number of ways in which one told submission can look.

    >>> bits(10, 0, 100.0)
    0.0
    >>> bits(1, 1, 8.0) < 8.01
    True
    """
    terms = [
        math.log2(math.comb(submissions, released)) + released * levels
        for released in range(min(submissions, releases) + 1)
    ]
    most = max(terms)
    return most + math.log2(sum(2.0 ** (term - most) for term in terms))


def overfitting(learned: float, items: int, width: float, risk: float = 0.05) -> float:
    """How far a told mean can be from that of fresh items, given the bits that were learned.

    Hoeffding's inequality for each of the 2^(learned + 1) submissions that a team could ever make.

    Args:
        learned: Bits, of `bits`.
        items: Independent items behind the mean.
        width: Of the metric.
        risk: The probability that it is further after all.
    """
    return width * math.sqrt(((learned + 1) * math.log(2) + math.log(2 / risk)) / (2 * items))


def decide(
    session: Session,
    row: SubmissionRow,
    headline: str,
    higher_is_better: bool,
    mean: float,
    values: Mapping[str, float],
    values_of: Callable[[SubmissionRow], Mapping[str, float]],
) -> str | None:
    """Why the scores of a new submission are held, a key of HELD; None where they are told.

    Args:
        session: A transaction that writes.
        row: The submission, not yet part of the session's answers.
        headline: The metric that the board is ordered by.
        higher_is_better: Of that metric.
        mean: The headline of the submission on unseen.
        values: The headline of each item, by key.
        values_of: Reads the same of an earlier submission.
    """
    suite = session.get_one(SuiteRow, row.suite_fingerprint)
    if row.team_id is None or suite.standing != "private":
        return None
    team = session.get_one(TeamRow, row.team_id, with_for_update=True)
    earlier = _earlier(session, row)
    released = [submission for submission in earlier if submission.held is None]
    if any(row.pixels is not None and submission.pixels == row.pixels for submission in released):
        return None  # it says what is known already
    if any(_near(values, values_of(submission), headline) for submission in earlier):
        return "near"
    if len({submission.pixels or submission.sha256 for submission in released}) >= team.releases:
        return "spent"
    sign = 1.0 if higher_is_better else -1.0
    means = {submission.id: sign * _mean(session, submission, headline) for submission in earlier}
    runs = [submission for submission in earlier if _row_of(submission) == _row_of(row)]
    if runs and all(run.held is None for run in runs):
        return None if len(runs) < RUNS else "spent"
    rows: dict[tuple[str, str, str, str, int], list[float]] = {}
    for submission in released:
        rows.setdefault(_row_of(submission), []).append(means[submission.id])
    best = max(map(_average, rows.values()), default=-math.inf)
    new = _average([sign * mean, *(means[run.id] for run in runs)])
    if new < best + step_of(headline, _items(suite)):
        return "step"
    for submission in runs:
        submission.held = None  # the row is told as a whole
    return None


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _items(suite: SuiteRow) -> int:
    return int(suite.about["splits"].get(GROUP, 0))


def _row_of(one: SubmissionRow) -> tuple[str, str, str, str, int]:
    return one.method, one.version, one.track, one.prompt_mode, one.exemplars


def _earlier(session: Session, row: SubmissionRow) -> list[SubmissionRow]:
    """What the team submitted to the suite before, also what it withdrew."""
    query = select(SubmissionRow).where(
        SubmissionRow.team_id == row.team_id,
        SubmissionRow.suite_fingerprint == row.suite_fingerprint,
        SubmissionRow.sha256 != row.sha256,
    )
    return list(session.scalars(query.order_by(SubmissionRow.id)))


def _mean(session: Session, one: SubmissionRow, headline: str) -> float:
    verdict = session.get_one(VerdictRow, one.last_verdict).verdict
    score = verdict["report"]["scores"].get(GROUP, {}).get(headline)
    return float(score["mean"]) if score else 0.0


def _near(values: Mapping[str, float], others: Mapping[str, float], headline: str) -> bool:
    """Whether nearly every item is worth the same in both."""
    keys = sorted(values.keys() & others.keys())
    if not keys:
        return False
    differ = np.array([values[key] - others[key] for key in keys])
    same = np.abs(differ) <= NEAR_VALUE * width_of(headline)
    return bool(same.mean() >= NEAR_ITEMS)
