"""What may be told of a report: all of it on a suite whose items may be shown, else rounded means of groups that are large."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorweb_bench.pages.bars import digits
from lorweb_bench.protocol import TIERS
from lorweb_bench.report import Report

if TYPE_CHECKING:
    from leaderboard.store import Entry

GROUPS = ("unseen", "seen", *TIERS, "unseen_hard", "seen_hard")
ROUNDED = ("mean", "ci_low", "ci_high", "seen", "unseen", "gap")


def disclosed(report: Report, standing: str) -> Report:
    """A report as everybody may see it, its submitter too.

    On a private suite that is `seen`, `unseen`, the tiers and their hard halves, with one decimal less than such a metric is
    read with: what is finer would tell, submission by submission, of single items.
    """
    if standing != "private":
        return report
    scores = {
        group: {metric: score.model_copy(update=_rounded(metric, score.model_dump())) for metric, score in of.items()}
        for group, of in report.scores.items()
        if group in GROUPS
    }
    gap = report.gap and {
        what: {metric: {**values, **_rounded(metric, values)} for metric, values in of.items()} for what, of in report.gap.items()
    }
    return report.model_copy(update={"scores": scores, "gap": gap})


def disclosed_entry(entry: "Entry") -> "Entry":
    """An entry of the board with the report that may be shown of it."""
    report = disclosed(entry.report, entry.suite.standing)
    return replace(entry, report=report, verdict=entry.verdict.model_copy(update={"report": report}))


def _rounded(metric: str, values: Mapping[str, Any]) -> dict[str, float]:
    places = digits(metric) - 1
    return {name: round(values[name], places) + 0.0 for name in ROUNDED if isinstance(values.get(name), float)}
