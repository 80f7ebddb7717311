"""Whether a paired difference is more than chance: a sign-flip test over clusters, Holm's correction, and rank ranges."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.protocol import BOOTSTRAP_SEED
from lorweb_bench.stats.bootstrap import Clusters, Part, Spread, Trainings, estimable, reach, spread

LEVEL = 0.05
FLIPS = (
    4096  # all sign patterns are tried where there are no more than this, else as many at random
)


def sign_patterns(clusters: int, seed: int, flips: int = FLIPS) -> np.ndarray:
    """Signs, clusters x patterns, the first pattern all ones: all that there are, or where these are many, `flips` at random.

    A pattern and its opposite give the same two-sided statistic, so the first cluster keeps its sign when all are listed.
    """
    if clusters <= 1 or 2 ** (clusters - 1) <= flips:
        rest = np.array(list(product((1.0, -1.0), repeat=max(0, clusters - 1)))).reshape(
            -1, max(0, clusters - 1)
        )
        return np.hstack([np.ones((len(rest), 1)), rest]).T
    drawn = np.random.default_rng(seed).choice([1.0, -1.0], size=(clusters, flips))
    return np.hstack([np.ones((clusters, 1)), drawn])


def sign_flip(
    parts: Sequence[Part],
    values: np.ndarray,
    clusters: Clusters,
    seed: int = BOOTSTRAP_SEED,
    flips: int = FLIPS,
) -> np.ndarray:
    """Two-sided p-values, one per column, that the estimate `parts` of paired differences (items x columns) is 0.

    The signs of whole families (for compositions, of whole pairs of families) are flipped together. What is compared is the
    estimate over its standard error, in which items that share a family or a source count as dependent: without that,
    compositions that share one family, and families that share photographs, would make chance look significant. Where families
    are all that items share, it is the plain sign-flip test. NaN with too few clusters.
    """
    from scipy import sparse

    values = np.asarray(values, dtype=np.float64)
    if not estimable(parts, clusters):
        return np.full(values.shape[1], np.nan)
    rows = np.concatenate([part.rows for part in parts])
    weights = np.concatenate([part.share * part.weights for part in parts])
    labels = [clusters.families[i] for i in rows]
    code = {label: i for i, label in enumerate(sorted(set(labels)))}
    belongs = sparse.csr_array(
        (np.ones(len(rows)), (np.arange(len(rows)), [code[label] for label in labels]))
    )
    signs = sign_patterns(len(code), seed, flips)
    overlap = clusters.sharing_either
    held = overlap.of(rows)
    spans = (
        np.diff((held @ belongs).tocsr().indptr) > 1
    )  # sets of elements that items of several labels hold
    p = np.empty(values.shape[1])
    for column in range(values.shape[1]):
        moved = weights * values[rows, column]
        sums = (held @ sparse.diags_array(moved) @ belongs).tocsr()
        own = moved @ belongs
        within = (
            overlap.signs[~spans] @ np.asarray(sums[~spans].sum(axis=1)).ravel() ** 2
        )  # no flip changes these
        across = overlap.signs[spans] @ (sums[spans] @ signs) ** 2
        variance = np.maximum(within + across, own @ own)
        statistic = np.abs(own @ signs) / np.sqrt(np.where(variance > 0, variance, 1.0))
        p[column] = np.mean(
            statistic >= statistic[0] * (1 - 1e-9)
        )  # the data's own pattern is among them
    return p


def difference_p(
    parts: Sequence[Part],
    values: np.ndarray,
    clusters: Clusters,
    seed: int = BOOTSTRAP_SEED,
    trainings: Sequence[Sequence[Trainings]] = (),
) -> np.ndarray:
    """Two-sided p-values, one per column of paired differences, that the estimate is 0: those of `sign_flip`.

    Where a column is of several trainings, `trainings` has their part of its variance; then the p-value is the larger of the
    sign-flip's and of the level whose interval just holds 0. NaN with too few clusters.
    """
    from scipy.optimize import brentq

    p = sign_flip(parts, values, clusters, seed)
    for column, extra in enumerate(trainings):
        if not extra or np.isnan(p[column]):
            continue
        known = spread(parts, values[:, [column]], clusters)
        point = abs(
            float(sum(part.share * (part.weights @ values[part.rows, column]) for part in parts))
        )

        def beyond(
            tail: float,
            known: Spread = known,
            extra: Sequence[Trainings] = extra,
            point: float = point,
        ) -> float:
            return float(reach(known, [extra], tail)[0]) - point

        least, greatest = 1e-12, 0.5 - 1e-9
        tail = (
            least
            if beyond(least) < 0
            else greatest
            if beyond(greatest) > 0
            else brentq(beyond, least, greatest)
        )
        p[column] = max(p[column], 2 * tail)
    return p


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given; NaN stays NaN and counts as no test."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    largest = 0.0
    for rank, i in enumerate(tested[np.argsort(values[tested], kind="stable")]):
        largest = max(largest, min(1.0, (len(tested) - rank) * float(values[i])))
        adjusted[i] = largest
    return [float(value) for value in adjusted]


def rank_ranges(
    values: Mapping[str, np.ndarray],
    parts: Sequence[Part],
    clusters: Clusters,
    higher_is_better: bool = True,
    seed: int = BOOTSTRAP_SEED,
    trainings: Mapping[str, tuple[Trainings, ...]] | None = None,
) -> dict[str, tuple[int, int]]:
    """Per method the range of its rank: from 1 + those significantly better to M - those significantly worse.

    `values` holds each method's value per item of one metric, in the rows that `parts` (a group) and `clusters` go by. Two
    methods differ significantly when the Holm-adjusted p of their paired difference is at most 0.05. `trainings` has, by method,
    what its trainings add to the variance, where `values` are means over several. InputError when the methods have values for
    different numbers of items.
    """
    names = list(values)
    if len({len(column) for column in values.values()}) > 1:
        raise InputError("The methods to be ranked have values for different numbers of items.")
    pairs = list(combinations(range(len(names)), 2))
    better = np.zeros((len(names), len(names)), dtype=bool)
    if pairs:
        columns = [np.asarray(values[name], dtype=np.float64) for name in names]
        differences = np.column_stack([columns[i] - columns[j] for i, j in pairs])
        points = sum(part.share * (part.weights @ differences[part.rows]) for part in parts)
        known = trainings or {}
        extra = [known.get(names[i], ()) + known.get(names[j], ()) for i, j in pairs]
        adjusted = holm(difference_p(parts, differences, clusters, seed, extra).tolist())
        for (i, j), point, p in zip(pairs, np.asarray(points), adjusted, strict=True):
            if p <= LEVEL:
                first_wins = (point > 0) == higher_is_better
                better[i, j], better[j, i] = first_wins, not first_wins
    beaten, beats = better.sum(axis=0), better.sum(axis=1)
    return {name: (1 + int(beaten[i]), len(names) - int(beats[i])) for i, name in enumerate(names)}
