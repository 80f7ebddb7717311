"""What may be told of a report.

All of it on a suite whose items may be shown, else rounded means of groups that are large.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorweb_bench.protocol import TIERS
from lorweb_bench.reports.bars import digits
from lorweb_bench.reports.report import Report

if TYPE_CHECKING:
    from leaderboard.store.store import Entry

GROUPS = ("unseen", "seen", *TIERS, "unseen_hard", "seen_hard")
ROUNDED = ("mean", "ci_low", "ci_high", "seen", "unseen", "gap")


def disclosed(report: Report, standing: str) -> Report:
    """A report as everybody may see it, its submitter too.

    On a private suite that is `seen`, `unseen`, the tiers and their hard halves, with one decimal
    less than such a metric is read with: what is finer would tell, submission by submission, of
    single items.
    """
    if standing != "private":
        return report
    scores = {
        group: {
            metric: score.model_copy(update=_rounded(metric, vars(score)))
            for metric, score in of.items()
        }
        for group, of in report.scores.items()
        if group in GROUPS
    }
    gap = report.gap and {
        what: {metric: {**values, **_rounded(metric, values)} for metric, values in of.items()}
        for what, of in report.gap.items()
    }
    return report.model_copy(update={"scores": scores, "gap": gap})


def disclosed_about(about: Mapping[str, Any], standing: str) -> dict[str, Any]:
    """What may be told of a suite.

    Of a private one neither its kinds nor the name of a file of its own families.
    """
    if standing != "private":
        return dict(about)
    library, plus, _ = (about["transformation_library"] or "").partition("+")
    told = {what: value for what, value in about.items() if what != "kinds"}
    return told | {
        "transformation_library": f"{library} and families of the keeper's own"
        if plus
        else library or None
    }


def disclosed_entry(entry: "Entry") -> "Entry":
    """An entry of the board with the report that may be shown of it."""
    report = disclosed(entry.report, entry.suite.standing)
    return replace(
        entry, report=report, verdict=entry.verdict.model_copy(update={"report": report})
    )


def places(metric: str, standing: str) -> int:
    """The decimal places that a metric is shown with.

    One less on a private suite, where it has no more.
    """
    return digits(metric) - (standing == "private")


def _rounded(metric: str, values: Mapping[str, Any]) -> dict[str, float]:
    kept = places(metric, "private")
    return {
        name: round(values[name], kept) + 0.0
        for name in ROUNDED
        if isinstance(values.get(name), float)
    }
