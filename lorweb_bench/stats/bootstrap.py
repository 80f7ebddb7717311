"""Intervals for means of items that share families and photographs.

A metric with known bounds gets a score interval (Wilson 1927), whose variance depends on where the
mean would be; the effective number of items comes from what items share (Korn and Graubard 1998).
Anything else, differences among it, gets its shape from a bootstrap over families and photographs.
Such draws have not the right width: they count the noise of single items several times over, and
know nothing of the mean having been estimated from the same few clusters. So they are scaled to the
variance of `clusters.spread`. `benchmarks/coverage.py` measures the coverage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lorweb_bench.protocol import BOOTSTRAP_SEED, CONFIDENCE
from lorweb_bench.stats.clusters import Clusters, Part, Spread, estimable, spread, variance_of

RESAMPLES = 1000
_COLUMNS = 256  # whose draws are held at a time
_ROUNDING = 1e-12
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Trainings:
    """What the mean over several trainings of one method varies by, as trainings differ."""

    variance: float
    freedom: float


def between_trainings(means: Sequence[float]) -> tuple[Trainings, ...]:
    """s²/S with S - 1 degrees of freedom, from the estimate of each of S trainings.

    Empty for one training, which cannot tell. Those of two methods are joined for their difference:
    trainings are independent, so their variances add up.
    """
    if len(means) < 2:
        return ()
    return (Trainings(float(np.var(means, ddof=1)) / len(means), len(means) - 1.0),)


def half_width(
    items: Spread, trainings: Sequence[Sequence[Trainings]], tail: float
) -> tuple[np.ndarray, np.ndarray]:
    """The variance and the quantile of an interval that leaves `tail` on either side, per column.

    Where a column has several sources of variance, the quantile is the mean of Student's for each,
    weighted by variance (Cochran and Cox 1957): for two or three trainings Satterthwaite's covers
    too seldom, this never (`benchmarks/coverage.py --trainings`). Half the width is quantile times
    √variance.
    """
    from scipy import stats

    total = items.variance.copy()
    weighted = items.variance * stats.t.isf(tail, items.freedom)
    for column, sources in enumerate(trainings):
        for source in sources:
            total[column] += source.variance
            weighted[column] += source.variance * float(stats.t.isf(tail, source.freedom))
    alone = stats.t.isf(tail, items.freedom)
    return total, np.divide(weighted, total, out=np.asarray(alone), where=total > 0)


def score_interval(
    mean: np.ndarray, effective: np.ndarray, quantile: np.ndarray, bounds: Bounds
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of the mean of values between two bounds.

    It holds every mean μ that lies no further from the one found than quantile·√((μ-l)(h-μ)/n).
    Near a bound it is wider on the side that leads away from it, and it has a width where all
    values are at the bound.

    Args:
        mean: The means found.
        effective: n: how many independent values that are always at one bound or the other would
            tell as much of the mean.
        quantile: Of Student's distribution.
        bounds: l and h, the least and the greatest value.

    Returns:
        The lower and the upper ends.

    Example:
        >>> score_interval(np.array([0.0]), np.array([100.0]), np.array([1.96]), (0.0, 1.0))
        (array([0.]), array([0.03699481]))
    """
    low, high = bounds
    unit = np.clip((mean - low) / (high - low), 0.0, 1.0)
    weight = quantile**2 / effective
    centre = (unit + weight / 2) / (1 + weight)
    half = np.sqrt(weight * unit * (1 - unit) + weight**2 / 4) / (1 + weight)
    ends = np.clip([np.minimum(centre - half, unit), np.maximum(centre + half, unit)], 0.0, 1.0)
    return low + (high - low) * ends[0], low + (high - low) * ends[1]


def intervals(
    estimates: Sequence[Sequence[Part]],
    values: np.ndarray,
    clusters: Clusters,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    trainings: Sequence[Sequence[Sequence[Trainings]]] | None = None,
    bounds: Sequence[Bounds | None] | None = None,
) -> np.ndarray:
    """95 % intervals, as offsets from the point estimates.

    Args:
        estimates: What intervals are asked for.
        values: Items x columns.
        clusters: What the items share.
        seed: Of the bootstrap.
        resamples: Its draws.
        trainings: By estimate and column, the variance to add where a column is the mean of several
            trainings.
        bounds: Per column, the least and the greatest value of the metric where these are known.

    Returns:
        Estimates x columns x (low, high); NaN where no interval can be given.
    """
    values = np.asarray(values, dtype=np.float64)
    columns = values.shape[1]
    offsets = np.full((len(estimates), columns, 2), np.nan)
    chosen = [i for i, parts in enumerate(estimates) if estimable(parts, clusters)]
    for start in range(0, columns if chosen else 0, _COLUMNS):
        batch = slice(start, start + _COLUMNS)
        few = values[:, batch]
        drawn: dict[int, list[np.ndarray]] = {i: [] for i in chosen}
        for weights in clusters.draws(seed, resamples):
            for i in chosen:
                drawn[i].append(_draw(estimates[i], few, weights))
        for i in chosen:
            extra = [()] * few.shape[1] if trainings is None else trainings[i][batch]
            limits = [None] * few.shape[1] if bounds is None else bounds[batch]
            shape = _shape(np.concatenate(drawn[i]), _ROUNDING * np.abs(few).max(axis=0))
            offsets[i, batch] = _ends(estimates[i], few, clusters, shape, extra, limits)
    return offsets


def _draw(parts: Sequence[Part], values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The estimate's deviation in each resample, resamples x columns."""
    total = np.zeros((len(weights), values.shape[1]))
    for part in parts:
        part_values = values[part.rows]
        drawn = weights[:, part.rows] * part.weights
        deviation = drawn @ (part_values - part.weights @ part_values)
        total += part.share * deviation / drawn.sum(axis=1, keepdims=True)
    return total


def _shape(draws: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """The quantiles of the draws over those of the normal distribution, 2 x columns.

    They are 1 where the spread is no more than `smallest`, that is, rounding.
    """
    from scipy import stats

    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    deviations = draws - draws.mean(axis=0)
    width = deviations.std(axis=0)
    quantiles = np.quantile(deviations, tails, axis=0) / stats.norm.ppf(tails)[:, None]
    return np.divide(quantiles, width, out=np.ones_like(quantiles), where=width > smallest)


def _ends(
    parts: Sequence[Part],
    values: np.ndarray,
    clusters: Clusters,
    shape: np.ndarray,
    trainings: Sequence[Sequence[Trainings]],
    bounds: Sequence[Bounds | None],
) -> np.ndarray:
    """The intervals of one estimate, columns x (low, high), as offsets."""
    variance, quantile = half_width(
        spread(parts, values, clusters), trainings, (1 - CONFIDENCE) / 2
    )
    half = quantile * np.sqrt(variance)
    offsets = np.stack([-shape[0] * half, shape[1] * half], axis=1)
    bounded = [column for column, limits in enumerate(bounds) if limits is not None]
    if not bounded:
        return offsets
    limits = [bounds[column] for column in bounded]
    if any(part.share < 0 for part in parts):
        between = []
        for column in bounded:
            between.append(sum(t.variance for t in trainings[column]))
        beside = quantile[bounded] * np.sqrt(np.array(between))
        offsets[bounded] = _ends_of_difference(parts, values[:, bounded], clusters, limits, beside)
        return offsets
    for column in bounded:
        lean = quantile[column] * (1.0 + shape[:, column]) / 2
        score_ends = _score_ends(parts, values[:, column], variance[column], lean, bounds[column])
        offsets[column] = offsets[column] if score_ends is None else score_ends
    return offsets


def _ends_of_difference(
    parts: Sequence[Part],
    values: np.ndarray,
    clusters: Clusters,
    bounds: Sequence[Bounds | None],
    beside: np.ndarray,
) -> np.ndarray:
    """The intervals of one mean less another one, put together from those of the two.

    The distances from the means to the ends that a difference meets are added as standard errors
    are, with the correlation of the two means (Zou and Donner 2008), and so is `beside`, the half
    width that trainings have of their own.
    """
    first = [part for part in parts if part.share > 0]
    second = [replace(part, share=-part.share) for part in parts if part.share < 0]
    spreads = [spread(side, values, clusters) for side in (first, second)]
    together = variance_of(parts, values, clusters)
    product = np.sqrt(spreads[0].variance * spreads[1].variance)
    covariance = (spreads[0].variance + spreads[1].variance - together) / 2
    correlation = np.divide(covariance, product, out=np.zeros_like(product), where=product > 0)
    correlation = np.clip(correlation, 0.0, 1.0)
    reaches = []
    for side, side_spread in zip((first, second), spreads, strict=True):
        variance, quantile = half_width(side_spread, [()] * values.shape[1], (1 - CONFIDENCE) / 2)
        half = quantile * np.sqrt(variance)
        reach = np.stack([half, half], axis=1)
        for column, limits in enumerate(bounds):
            lean = np.full(2, quantile[column])
            score_ends = _score_ends(side, values[:, column], variance[column], lean, limits)
            reach[column] = reach[column] if score_ends is None else np.abs(score_ends)
        reaches.append(reach)
    ends = []
    for end, other in ((0, 1), (1, 0)):
        down, up = reaches[0][:, end], reaches[1][:, other]
        squared = down**2 + up**2 - 2 * correlation * down * up + beside**2
        ends.append(np.sqrt(np.maximum(squared, 0.0)))
    return np.stack([-ends[0], ends[1]], axis=1)


def _score_ends(
    parts: Sequence[Part],
    column: np.ndarray,
    variance: float,
    lean: np.ndarray,
    limits: Bounds | None,
) -> np.ndarray | None:
    """The score interval of a mean as offsets; None where its values show no spread to scale."""
    if limits is None:
        return None
    mean = float(sum(part.share * (part.weights @ column[part.rows]) for part in parts))
    effective = _effective_items(parts, mean, float(variance), limits)
    return None if effective is None else _score_offsets(mean, effective, lean, limits)


def _score_offsets(mean: float, effective: float, lean: np.ndarray, limits: Bounds) -> np.ndarray:
    """The score interval as offsets, with a quantile of its own on either side."""
    means, items = np.full(2, mean), np.full(2, effective)
    low, high = score_interval(means, items, lean, limits)
    return np.array([low[0] - mean, high[1] - mean])


def _effective_items(
    parts: Sequence[Part], mean: float, variance: float, limits: Bounds
) -> float | None:
    """How many independent values at the bounds would have this variance of their mean.

    Where all values are at one bound there is no variance to tell, and as many are taken as there
    are items. None where all have one value between the bounds: no spread is to be seen then.
    """
    width = limits[1] - limits[0]
    room = (mean - limits[0]) * (limits[1] - mean)
    at_bound = room <= _ROUNDING * width**2
    if variance <= (_ROUNDING * width) ** 2:
        return _independent_items(parts) if at_bound else None
    return max(room, _ROUNDING * width**2) / variance


def _independent_items(parts: Sequence[Part]) -> float:
    """How many items of equal weight would be worth these, were all independent (Kish 1965)."""
    return float(1.0 / sum(part.share**2 * np.sum(part.weights**2) for part in parts))
