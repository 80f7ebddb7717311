"""Verdicts: a submission is checked, then scored from its images.

Nothing that it says of itself counts.
"""

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leaderboard.submission.card import Card
from leaderboard.submission.submission import Submission, most_bytes, open_submission, sizes_of
from leaderboard.submission.training_check import TrainingFound, check_training
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import pixel_hash
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.predictions.format import SuiteId, suite_id
from lorweb_bench.protocol import SUMMARY_GROUPS
from lorweb_bench.reports.report import Report, TrainedOn
from lorweb_bench.runtime.environment import environment
from lorweb_bench.runtime.files import read_json, sha256_file

Level = Literal["re-scored", "reproduced"]
FREE = 1e-3  # what two runs may differ by where a score has no interval


class Verdict(BaseModel):
    """What the board found.

    Accepted or not, the reasons, and for an accepted submission its card and its report.

    `level` is `re-scored` when the scores were computed from the submitted images, `reproduced`
    when the keeper ran the method too. `training` is what declared training data shares with the
    suite, where its manifest was given. `sha256` is None for a file too large to be a submission.
    `seconds` is what the verdict took.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["lorweb-bench/verdict"] = "lorweb-bench/verdict"
    format_version: Literal[1] = 1
    accepted: bool
    level: Level | None = None
    reasons: tuple[str, ...]
    submission: str
    sha256: str | None
    bytes: int
    suite: SuiteId
    targets_fingerprint: str | None
    pixels: str | None = None
    card: Card | None = None
    training: tuple[TrainingFound, ...] = ()
    report: Report | None = None
    environment: dict[str, str] = Field(default_factory=environment)
    decided: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    seconds: float


def verify(
    path: Path | str,
    suite: Dataset,
    reproduction: Report | None = None,
    workers: int = 1,
    training: Sequence[Path] = (),
) -> Verdict:
    """Check a submission and score it from its images against the full view of a suite.

    A submission that is not in order gets a verdict with `accepted` False and the reason.
    `reproduction` is the keeper's own report of the same method: where it agrees, the level is
    `reproduced`, else the submission is refused. `training` are declared training datasets, or
    their manifests, to be searched for leaks: what they share with a suite's new tiers refuses a
    submission to the closed track; on the open one the verdict says so. InputError when the file
    cannot be read at all, the suite is a public view or damaged, or the card does not declare that
    training data: that says nothing about the submission.
    """
    path, started = Path(path), time.monotonic()
    require_full(suite)
    _require_file(path)
    sizes = sizes_of(suite)
    verdict = _unchecked(path, suite, most_bytes(sizes))

    def ended(**what: Any) -> Verdict:
        """The verdict with what was decided, and with the time that it took."""
        return verdict.model_copy(update=what | {"seconds": round(time.monotonic() - started, 3)})

    try:
        submission = open_submission(path, suite, sizes)
    except InputError as e:
        return ended(reasons=(str(e),))
    findings = check_training(submission.card, suite, training)
    verdict = verdict.model_copy(update={"card": submission.card, "training": findings})
    leaks = tuple(finding.sentence for finding in findings)
    if submission.card.track == "closed" and (refused := _not_closed(findings, suite)):
        return ended(reasons=(refused, *leaks))
    from lorweb_bench.scoring.evaluate import score

    report = score(
        submission.predictions, suite, trained_on=_declared(submission.card), workers=workers
    )
    verdict = verdict.model_copy(update={"pixels": pixels_of(submission)})
    reason = f"All {len(sizes)} images are there and in order; the scores were computed from them."
    if reproduction is None:
        return ended(accepted=True, level="re-scored", reasons=(reason, *leaks), report=report)
    if difference := differs(report, reproduction):
        return ended(reasons=(difference,), report=report)
    again = "The keeper ran the method too, and its scores lie within the intervals."
    return ended(accepted=True, level="reproduced", reasons=(reason, again, *leaks), report=report)


def _require_file(path: Path) -> None:
    """Refuse a path that is no file."""
    if not path.is_file():
        raise InputError(
            f"{path} is no file; a submission is the zip that `lorweb-bench leaderboard pack` "
            "writes."
        )


def _unchecked(path: Path, suite: Dataset, most: int) -> Verdict:
    """The verdict on a file of at most `most` bytes before anything in it was checked."""
    return Verdict(
        accepted=False,
        reasons=("It was not checked.",),
        submission=path.name,
        sha256=_sha256(path, most),
        bytes=path.stat().st_size,
        suite=suite_id(suite),
        targets_fingerprint=suite.manifest.targets_fingerprint,
        seconds=0.0,
    )


def pixels_of(submission: Submission) -> str:
    """A digest over the decoded images by key: equal exactly when all pixels are.

    Another name, card, order or compression changes nothing in it.
    """
    digest = hashlib.sha256()
    predictions = submission.predictions
    for key in sorted(predictions.images):
        digest.update(f"{key} {pixel_hash(predictions[key])}\n".encode())
    return digest.hexdigest()


def _not_closed(training: Sequence[TrainingFound], suite: Dataset) -> str | None:
    """Why a submission to the closed track was not adapted on the suite's own training dataset
    only, or None.
    """
    for finding in training:
        if suite.manifest.tiers_relative_to and not finding.own:
            return (
                f"The track is closed, but {finding.name} ({finding.fingerprint[:12]}) is not the "
                "suite's own training dataset; the track is open."
            )
        if finding.leaks:
            return "The track is closed, but what the suite calls new was trained on."
    return None


def _declared(card: Card) -> list[TrainedOn] | None:
    """What a card declares for the closed track; on the open one it is not taken for the whole."""
    if card.track == "open":
        return None
    return [TrainedOn(name=d.name, fingerprint=d.fingerprint) for d in card.training_data]


def require_full(suite: Dataset) -> None:
    """InputError when the suite is a public view."""
    if suite.public:
        raise InputError(
            f"{suite.path} is a public view, which has no answers; verify against the full view."
        )


def _sha256(path: Path, most: int) -> str | None:
    try:
        return sha256_file(path) if path.stat().st_size <= most else None
    except OSError as e:
        raise InputError(f"{path} cannot be read ({e.strerror}).") from None


def differs(report: Report, own: Report) -> str | None:
    """Why the keeper's own report does not confirm this one, or None when it does.

    It has to be of the same suite, method, prompt mode and exemplars, whole, and its means on
    unseen, seen and new_to_base within this one's intervals, for every metric that both have
    (within 0.001 where there is no interval).
    """
    for what in ("suite", "prompt_mode", "exemplars", "pairs"):
        if getattr(report, what) != getattr(own, what):
            return f"The keeper's report is of another {what}, so it confirms nothing."
    if report.method.name != own.method.name or own.partial or own.missing:
        return (
            f"The keeper's report is of {own.method.name}, or not of a whole run, so it "
            "confirms nothing."
        )
    for group in SUMMARY_GROUPS:
        for metric, theirs in report.scores.get(group, {}).items():
            if metric not in own.scores.get(group, {}):
                continue
            low = (
                theirs.mean - FREE
                if theirs.ci_low is None
                else min(theirs.ci_low, theirs.mean - FREE)
            )
            high = (
                theirs.mean + FREE
                if theirs.ci_high is None
                else max(theirs.ci_high, theirs.mean + FREE)
            )
            mean = own.scores[group][metric].mean
            if not low <= mean <= high:
                return (
                    f"The keeper's run has {metric} {mean:.4f} on {group}; the submitted "
                    f"images have {theirs.mean:.4f}."
                )
    return None


def says_the_same(one: Verdict, other: Verdict) -> bool:
    """Whether two verdicts on an archive differ in nothing that a board shows."""
    return (one.level, one.training) == (other.level, other.training)


def keeping(verdict: Verdict, known: Verdict) -> Verdict:
    """A new verdict on an accepted archive, with what an earlier one found and this one did not
    look for.

    What the keeper's run confirmed were scores against the same answers; against others it confirms
    nothing.
    """
    update: dict[str, Any] = {"training": verdict.training or known.training}
    if (
        known.level == "reproduced" != verdict.level
        and known.targets_fingerprint == verdict.targets_fingerprint
    ):
        update |= {
            "level": "reproduced",
            "reasons": (*verdict.reasons, f"Reproduced in the verdict of {known.decided.date()}."),
        }
    return verdict.model_copy(update=update)


def read_verdict(path: Path | str) -> Verdict:
    """Read a verdict's file; InputError when it is missing or malformed."""
    try:
        return Verdict.model_validate(read_json(path))
    except ValidationError as e:
        raise InputError(f"{path} is no verdict ({first_error(e)}).") from None
