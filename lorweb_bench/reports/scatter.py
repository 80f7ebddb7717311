"""Accuracy against preservation: a point for every transformation, for the page of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lorweb_bench.reports.bars import Scale, scale_of

ACCURACY = ("edit_recovery", "judge_accuracy", "clip_direction", "retrieval", "psnr")
PRESERVATION = ("lpips_to_b", "judge_consistency")  # of b; what compares with b' is accuracy
WORDS = {
    "lpips_to_b": "how much of b was kept",
    "judge_consistency": "how much of b was kept, as the judge sees it",
    "edit_recovery": "how much of the edit was made",
    "judge_accuracy": "how right the edit is, as the judge sees it",
    "clip_direction": "how right the direction of the edit is",
    "retrieval": "how often the edit is told from others",
    "psnr": "how near the pixels are",
}


@dataclass(frozen=True)
class Point:
    """A transformation: its means in both metrics, and their places in percent from the left and
    from the top.
    """

    label: str
    tier: str
    split: str
    x: float
    y: float
    left: float
    top: float


@dataclass(frozen=True)
class Axis:
    """A metric on an axis: better is always to the right, or up. `ticks` are values with their
    place in percent of the axis.
    """

    metric: str
    words: str
    scale: Scale
    higher_is_better: bool

    def place(self, value: float) -> float:
        """Percent of the way to the better end."""
        return (
            self.scale.place(value)
            if self.higher_is_better
            else round(100.0 - self.scale.place(value), 2)
        )

    @property
    def digits(self) -> int:
        """Decimal places that tell the ticks apart."""
        return self.scale.digits

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """Five values and their places."""
        return sorted(
            ((value, self.place(value)) for value, _ in self.scale.ticks), key=lambda tick: tick[1]
        )


@dataclass(frozen=True)
class Scatter:
    """The two axes and the points."""

    x: Axis
    y: Axis
    points: tuple[Point, ...]


def _first(metrics: Sequence[str], wanted: Sequence[str], other: str | None = None) -> str | None:
    """The first metric that goes by one of these names, whatever its backbone."""
    candidates = ((name, metric) for name in wanted for metric in metrics if metric != other)
    return next((metric for name, metric in candidates if metric.partition("[")[0] == name), None)


def scatter(
    table: Mapping[str, np.ndarray], metrics: Sequence[str], better: Mapping[str, bool]
) -> Scatter | None:
    """Accuracy (upwards) against preservation (to the right), from the metrics that there are;
    None where one is lacking.
    """
    y = _first(metrics, ACCURACY)
    x = _first(metrics, PRESERVATION, y)
    if x is None or y is None:
        return None
    names, tiers, splits = (table[name].astype(str) for name in ("transformation", "tier", "split"))
    means = {}
    for tier, name in sorted(set(zip(tiers.tolist(), names.tolist(), strict=True))):
        rows = np.flatnonzero((tiers == tier) & (names == name))
        means[tier, name] = (
            float(table[x][rows].mean()),
            float(table[y][rows].mean()),
            str(splits[rows[0]]),
        )
    axes = []
    for i, metric in enumerate((x, y)):
        values = np.array([m[i] for m in means.values()])
        axes.append(_axis(metric, values, better[metric]))
    points = [
        Point(
            name,
            tier,
            split,
            own_x,
            own_y,
            axes[0].place(own_x),
            round(100.0 - axes[1].place(own_y), 2),
        )
        for (tier, name), (own_x, own_y, split) in means.items()
    ]
    return Scatter(axes[0], axes[1], tuple(points))


def _axis(metric: str, values: np.ndarray, higher: bool) -> Axis:
    """The metric's own scale, cut to the part that the points need, in tenths of it."""
    name = metric.partition("[")[0]
    whole = scale_of(name, values)
    step = (whole.end - whole.start) / 10 or 1.0
    least, greatest = (np.clip(v, whole.start, whole.end) for v in (values.min(), values.max()))
    start = whole.start + np.floor((least - whole.start) / step) * step
    end = max(whole.start + np.ceil((greatest - whole.start) / step) * step, start + step)
    return Axis(metric, WORDS[name], Scale(float(start), float(end)), higher)
