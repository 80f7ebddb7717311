"""Bars of a report's page: means with their intervals, and the scales that they are drawn on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lorweb_bench.protocol import NEW_TO_BASE, SEEN_TIERS, TIERS, UNSEEN_TIERS
from lorweb_bench.reports.report import Report, Score
from lorweb_bench.stats.aggregate import BOUNDS

MAIN_GROUPS = ("seen", *SEEN_TIERS, "unseen", *UNSEEN_TIERS, NEW_TO_BASE)
MIN_SOURCES = 3  # of one transformation, for an interval of its own
TIER_WORDS = {
    "seen_single": "trained transformations",
    "seen_composition": "trained compositions",
    "new_parameters": "trained families, new values",
    "new_composition": "trained families, never together",
    "new_family": "families never trained",
    "new_task": "tasks never trained",
    NEW_TO_BASE: "families that neither training data nor base has seen",
}


@dataclass(frozen=True)
class Bar:
    """A mean on a scale: `mean` and interval in the metric's units; `left`, `width`, `low`,
    `high`, `dots` in percent of the scale.
    """

    label: str
    note: str
    mean: float
    interval: tuple[float, float] | None
    left: float
    width: float
    low: float | None = None
    high: float | None = None
    dots: tuple[float, ...] = ()


@dataclass(frozen=True)
class Scale:
    """What the bars of a metric are drawn on; they begin at `base`."""

    start: float
    end: float
    base: float = 0.0

    def place(self, value: float) -> float:
        """Percent of the way from start to end, kept within."""
        return round(
            100.0 * min(1.0, max(0.0, (value - self.start) / ((self.end - self.start) or 1.0))), 2
        )

    @property
    def zero(self) -> float:
        """Where bars begin, in percent: at the base where the scale holds it, else at its start."""
        return self.place(self.base)

    @property
    def digits(self) -> int:
        """Decimal places that tell the ticks apart, at least two."""
        return max(2, 1 - math.floor(math.log10((self.end - self.start) / 4 or 1.0)))

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """Five values and their places."""
        return [
            (float(value), self.place(float(value)))
            for value in np.linspace(self.start, self.end, 5)
        ]

    def bar(
        self,
        label: str,
        note: str,
        mean: float,
        interval: tuple[float, float] | None,
        dots: Sequence[float] = (),
    ) -> Bar:
        """A bar from the base to the mean."""
        ends = sorted((self.zero, self.place(mean)))
        low, high = (self.place(interval[0]), self.place(interval[1])) if interval else (None, None)
        spots = tuple(sorted({self.place(float(value)) for value in dots}))
        return Bar(
            label, note, mean, interval, ends[0], round(ends[1] - ends[0], 2), low, high, spots
        )


AS_MEASURED = ("mse", "l1")  # their bounds are far from what is measured
SCALES = {metric: Scale(*bounds) for metric, bounds in BOUNDS.items() if metric not in AS_MEASURED}
SCALES["judge_preferred"] = Scale(0.0, 1.0, base=0.5)


def digits(metric: str, values: Iterable[float] = ()) -> int:
    """Decimal places that a metric is read with: fixed where its scale is known, else enough for
    three digits of the greatest value.
    """
    least = (
        2
        if metric.startswith(("psnr", "judge_accuracy", "judge_consistency"))
        else 4
        if metric.startswith("mse")
        else 3
    )
    greatest = max(map(abs, values), default=0.0)
    return (
        least
        if metric.partition("[")[0] in SCALES or not greatest
        else min(12, max(least, 2 - math.floor(math.log10(greatest))))
    )


def scale_of(metric: str, values: np.ndarray) -> Scale:
    """The metric's own scale where it is known, else from zero (or the least value) to the
    greatest.
    """
    scale = SCALES.get(metric.partition("[")[0])
    return scale or Scale(min(0.0, float(values.min())), max(float(values.max()), 1e-9))


def group_bars(report: Report, metric: str, scale: Scale) -> list[Bar]:
    """One bar per main group that has items."""
    bars = []
    for name in MAIN_GROUPS:
        score: Score | None = report.scores.get(name, {}).get(metric)
        if score:
            interval = (
                None
                if score.ci_low is None or score.ci_high is None
                else (score.ci_low, score.ci_high)
            )
            bars.append(
                scale.bar(name, TIER_WORDS.get(name, "mean of its tiers"), score.mean, interval)
            )
    return bars


def transformation_bars(
    table: Mapping[str, np.ndarray], metric: str, scale: Scale
) -> dict[str, list[Bar]]:
    """Per tier a bar per transformation, best first, with its items as dots.

    The interval is Student's, over the sources of b: within one transformation only these are
    shared. None for fewer than three.
    """
    from scipy import stats

    tiers: dict[str, list[Bar]] = {}
    for tier in TIERS:
        rows = np.flatnonzero(table["tier"].astype(str) == tier)
        bars = []
        for name in np.unique(table["transformation"][rows].astype(str)):
            members = rows[table["transformation"][rows].astype(str) == name]
            values, sources = (
                np.asarray(table[metric][members], dtype=float),
                table["b_source"][members].astype(str),
            )
            means = np.array([values[sources == source].mean() for source in np.unique(sources)])
            mean, interval = float(values.mean()), None
            if len(means) >= MIN_SOURCES:
                half = float(
                    stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
                )
                interval = (mean - half, mean + half)
            items = "1 item" if len(members) == 1 else f"{len(members)} items"
            if table["hard"][members].all():
                items += ", hard"
            bars.append(scale.bar(str(name), items, mean, interval, values.tolist()))
        if bars:
            tiers[tier] = sorted(bars, key=lambda bar: (-bar.mean, bar.label))
    return tiers
