"""What may be told of a report.

All of it on a suite whose items may be shown, else rounded means of groups that are large.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from leaderboard.store.ladder import width_of
from lorweb_bench.protocol import TIERS
from lorweb_bench.reports.bars import digits
from lorweb_bench.reports.report import Report, Score, headline_of

if TYPE_CHECKING:
    from leaderboard.store.store import Entry

GROUPS = ("unseen", "seen", *TIERS, "unseen_hard", "seen_hard")
SPLITS = ("seen", "unseen")
NO_INTERVAL = {"ci_low": None, "ci_high": None}
ROUNDED = ("mean", "ci_low", "ci_high", "seen", "unseen", "gap")


def disclosed(report: Report, standing: str) -> Report:
    """A report as everybody may see it, its submitter too.

    On a private suite that is little, as every number is an answer about hidden items: of the
    headline the means of `seen` and `unseen` with their intervals, and those of the tiers and the
    hard halves without; of other metrics the means of `seen` and `unseen` alone. All have one
    decimal less than such a metric is read with.
    """
    if standing != "private":
        return report
    headline = headline_of(report.metrics)
    scores: dict[str, dict[str, Score]] = {}
    for group in GROUPS:
        for metric, score in report.scores.get(group, {}).items():
            if group in SPLITS or metric == headline:
                interval = group in SPLITS and metric == headline
                rounded = _rounded_score(metric, score, interval)
                scores.setdefault(group, {})[metric] = rounded
    gap: dict[str, Any] | None = None if report.gap is None else {}
    for what, of in (report.gap or {}).items():
        gap[what] = {m: _rounded_gap(m, of[m]) for m in of if m == headline}  # type: ignore[index]
    return report.model_copy(update={"scores": scores, "gap": gap})


def told_levels(report: Report) -> float:
    """log2 of the number of ways in which what is told of a report on a private suite can look."""
    disclosure, headline = disclosed(report, "private"), headline_of(report.metrics)
    bits = 0.0
    for group, of in disclosure.scores.items():
        for metric in of:
            step = 10.0 ** -places(metric, "private")
            numbers = 3 if group in SPLITS and metric == headline else 1  # with its interval
            bits += numbers * math.log2(width_of(metric) / step + 1)
    for of in (disclosure.gap or {}).values():
        for metric in of:
            bits += 2 * math.log2(width_of(metric) * 10.0 ** places(metric, "private") + 1)
    return bits


def _rounded_score(metric: str, score: Score, interval: bool) -> Score:
    update: dict[str, Any] = _rounded(metric, vars(score))
    return score.model_copy(update=update if interval else update | NO_INTERVAL)


def _rounded_gap(metric: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The two means, and what is between these as they are told."""
    means = _rounded(metric, {name: values[name] for name in SPLITS})
    decimals = places(metric, "private")
    return {
        **values,
        **means,
        "gap": round(means["seen"] - means["unseen"], decimals) + 0.0,
        **NO_INTERVAL,
    }


def disclosed_about(about: Mapping[str, Any], standing: str) -> dict[str, Any]:
    """What may be told of a suite.

    Of a private one neither its kinds nor the name of a file of its own families.
    """
    if standing != "private":
        return dict(about)
    library, plus, _ = (about["transformation_library"] or "").partition("+")
    public_facts = {what: value for what, value in about.items() if what != "kinds"}
    return public_facts | {
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
    decimals = places(metric, "private")
    return {
        name: round(values[name], decimals) + 0.0
        for name in ROUNDED
        if isinstance(values.get(name), float)
    }
