"""Whether paired differences are more than chance: sign-flips over clusters, and rank ranges.

All pairs of methods are tested at once, from one set of sign patterns, by the step-down maximum of
their statistics (Westfall and Young 1993; Romano and Wolf 2005). A p-value is then a share of the
patterns in which the largest statistic reaches what was observed, so that it does not run into the
number of pairs, as a p-value that is multiplied by that number does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.protocol import BOOTSTRAP_SEED
from lorweb_bench.stats.bootstrap import Trainings
from lorweb_bench.stats.clusters import Clusters, Part, estimable

LEVEL = 0.05
FLIPS = 4096  # where all sign patterns are no more than this they are all tried, else so many at random
_BATCH = 4_000_000  # numbers held at a time, 32 MB
_ROUNDING = 1e-12  # a difference below this share of what it is the difference of is none
_EQUAL = 1e-9  # statistics that differ by less are equal


def sign_patterns(clusters: int, seed: int, flips: int = FLIPS) -> np.ndarray:
    """Signs, clusters x patterns, of which the first are all ones.

    A pattern and its opposite give the same two-sided statistic, so the first cluster keeps its sign
    when all patterns are listed.

    Args:
        clusters: How many there are.
        seed: Of the patterns drawn at random.
        flips: Where there are more patterns than this, so many are drawn, and the ones come first.
    """
    if clusters <= 1 or 2 ** (clusters - 1) <= flips:
        rest = list(product((1.0, -1.0), repeat=max(0, clusters - 1)))
        signs = np.array(rest).reshape(len(rest), -1)
        return np.hstack([np.ones((len(rest), 1)), signs]).T
    drawn = np.random.default_rng(seed).choice([1.0, -1.0], size=(clusters, flips))
    return np.hstack([np.ones((clusters, 1)), drawn])


def pairwise_p(
    values: np.ndarray,
    parts: Sequence[Part],
    clusters: Clusters,
    seed: int = BOOTSTRAP_SEED,
    flips: int = FLIPS,
    trainings: Sequence[Sequence[Trainings]] | None = None,
) -> np.ndarray:
    """Two-sided p-values that two methods are equal, for all pairs at once.

    The signs of whole families' differences (for compositions, of whole pairs of families) are
    flipped together. The statistic is the square of the mean difference over its variance, in which
    items that share a family or a photograph count as dependent, and which is taken around the mean
    of the flipped differences. The p-values are adjusted over all pairs by the step-down maximum, so
    the chance of any wrong rejection is the level.

    Args:
        values: Items x methods.
        parts: The estimate, e.g. of one group.
        clusters: What the items share.
        seed: Of the sign patterns.
        flips: How many are tried at most.
        trainings: Per method, what its mean over several trainings varies by. Each pattern then
            moves the method's mean by that much times a draw of Student's t (Fisher's fiducial
            distribution of the mean of the trainings), and its variance is in the denominator.

    Returns:
        Methods x methods, symmetric; 1 on the diagonal. NaN with too few clusters.
    """
    values = np.asarray(values, dtype=np.float64)
    count = values.shape[1]
    if not estimable(parts, clusters):
        return np.full((count, count), np.nan)
    adjusted = np.ones((count, count))
    first, second = np.triu_indices(count, 1)
    if not len(first):
        return adjusted
    form = _FlippedForm.of(values, parts, clusters, trainings)
    signs = sign_patterns(form.own.shape[0], seed, flips)
    shifts = _training_shifts(form, signs.shape[1], flips, seed, trainings)
    if shifts is not None:
        signs = np.tile(signs, (1, -(-len(shifts) // signs.shape[1])))[:, : len(shifts)]
    observed = form.statistics(signs[:, :1], None)[0][first, second]
    order = np.argsort(-observed, kind="stable")
    reached = _times_reached(form, signs, shifts, (first[order], second[order]), observed[order])
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate(reached / signs.shape[1])
    adjusted[first, second] = adjusted[second, first] = p
    return adjusted


def _times_reached(
    form: "_FlippedForm",
    signs: np.ndarray,
    shifts: np.ndarray | None,
    pairs: tuple[np.ndarray, np.ndarray],
    observed: np.ndarray,
) -> np.ndarray:
    """Per pair, in how many patterns it or a pair after it has a statistic as large as its own.

    The pairs are in falling order of `observed`: a pair is held against the maximum over itself and
    those that are no more significant (Westfall and Young's step-down; Ge, Dudoit and Speed 2003).
    """
    reached = np.zeros(len(observed))
    threshold = observed * (1.0 - _EQUAL)
    for batch in form.batches(signs.shape[1]):
        flipped = form.statistics(signs[:, batch], None if shifts is None else shifts[batch])
        of_pairs = flipped[:, pairs[0], pairs[1]]
        largest = np.maximum.accumulate(of_pairs[:, ::-1], axis=1)[:, ::-1]
        reached += np.sum(largest >= threshold, axis=0)
    return reached


def _training_shifts(
    form: "_FlippedForm",
    patterns: int,
    flips: int,
    seed: int,
    trainings: Sequence[Sequence[Trainings]] | None,
) -> np.ndarray | None:
    """Patterns x methods: by how much the trainings move each mean; none for the data's own pattern.

    There are at least `flips` patterns then: where all patterns of signs are fewer, they recur.
    """
    if not trainings or not any(trainings):
        return None
    rng = np.random.default_rng([seed, 1])
    shifts = np.zeros((max(patterns, flips), len(trainings)))
    for method, sources in enumerate(trainings):
        for source in sources:
            drawn = rng.standard_t(source.freedom, size=len(shifts))
            shifts[:, method] += np.sqrt(source.variance) * drawn
    shifts[0] = 0.0
    return shifts


@dataclass(frozen=True)
class _InnerForm:
    """The quadratic form of sets of items that lie within one label each, for any signs of the labels.

    With d the sum of a set, w its weight in each part and m the parts' flipped means, the set counts
    (s·d - w·m)². Of the sum over sets only m and a sum per label change with the signs s.
    """

    squares: np.ndarray  # methods x methods: the sum of d·d'
    crossed: np.ndarray  # labels x parts x methods: the sum of w·d
    weights: np.ndarray  # parts x parts: the sum of w·w'

    @classmethod
    def of(
        cls, sums: np.ndarray, weights: np.ndarray, signs: np.ndarray, labels: np.ndarray, count: int
    ) -> "_InnerForm":
        """From sets x methods, sets x parts, the sign and the label of each set."""
        crossed = np.zeros((count, weights.shape[1], sums.shape[1]))
        np.add.at(crossed, labels, (signs[:, None] * weights)[:, :, None] * sums[:, None, :])
        return cls((sums.T * signs) @ sums, crossed, (weights.T * signs) @ weights)

    def at(self, signs: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Patterns x methods x methods, for labels x patterns and patterns x parts x methods."""
        crossed = np.tensordot(signs.T, self.crossed, 1)
        mixed = np.matmul(crossed.transpose(0, 2, 1), means)
        around = np.matmul(means.transpose(0, 2, 1), np.matmul(self.weights, means))
        return self.squares - mixed - mixed.transpose(0, 2, 1) + around


@dataclass(frozen=True)
class _FlippedForm:
    """Differences of all pairs of methods and their variances, for any signs of the labels.

    A variance is a quadratic form in the values, so that of a difference follows from the form over
    methods: V(i - j) = Q(i, i) + Q(j, j) - 2 Q(i, j). No array of items x pairs is ever made.
    """

    own: np.ndarray  # labels x methods: what a label adds to the estimate
    means: np.ndarray  # labels x parts x methods: what it adds to the mean of each part
    of_labels: _InnerForm  # the variance over whole labels
    inner: _InnerForm  # of sets of elements that only items of one label hold
    outer: np.ndarray  # (set and label) x methods: sums of the sets that items of several labels hold
    outer_label: np.ndarray
    outer_set: np.ndarray  # where the rows of each such set begin in `outer`
    outer_weights: np.ndarray  # sets x parts
    outer_signs: np.ndarray
    between: np.ndarray  # methods: variance between trainings
    scale: np.ndarray  # methods: what a difference is small against

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        parts: Sequence[Part],
        clusters: Clusters,
        trainings: Sequence[Sequence[Trainings]] | None,
    ) -> "_FlippedForm":
        """Sums over sets of elements, apart for those within a label and those across labels."""
        from scipy import sparse

        rows = np.concatenate([part.rows for part in parts])
        weights = np.concatenate([part.share * part.weights for part in parts])
        part_of = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
        centred = values[rows] - values[rows].mean(axis=1, keepdims=True)
        moved = weights[:, None] * centred
        in_part = np.zeros((len(rows), len(parts)))
        in_part[np.arange(len(rows)), part_of] = weights
        _, label = np.unique(clusters.labels[rows], return_inverse=True)
        count = int(label.max()) + 1
        by_label = sparse.csr_array((np.ones(len(rows)), (label, np.arange(len(rows)))))
        own, label_weights = by_label @ moved, by_label @ in_part
        means = np.zeros((count, len(parts), values.shape[1]))
        for p, part in enumerate(parts):
            chosen = part_of == p
            means[:, p] = by_label[:, chosen] @ (moved[chosen] / part.share)
        every = np.arange(count)
        of_labels = _InnerForm.of(own, label_weights, np.ones(count), every, count)
        overlap = clusters.sharing_any
        held = sparse.coo_array(overlap.member[:, rows])
        cells, cell = np.unique(held.row * count + label[held.col], return_inverse=True)
        to_cell = sparse.csr_array((np.ones(len(cell)), (cell, held.col)))
        sums, cell_weights = to_cell @ moved, to_cell @ in_part
        cell_set, cell_label = np.divmod(cells, count)
        spans = np.bincount(cell_set, minlength=len(overlap.signs))[cell_set] > 1
        inside = ~spans
        inner = _InnerForm.of(
            sums[inside],
            cell_weights[inside],
            overlap.signs[cell_set[inside]],
            cell_label[inside],
            count,
        )
        sets, starts = np.unique(cell_set[spans], return_index=True)
        outer_weights = (
            np.add.reduceat(cell_weights[spans], starts, axis=0)
            if len(starts)
            else np.zeros((0, len(parts)))
        )
        between = np.zeros(values.shape[1])
        for method, sources in enumerate(trainings or ()):
            between[method] = sum(source.variance for source in sources)
        scale = np.abs(weights) @ np.abs(values[rows])
        return cls(
            own,
            means,
            of_labels,
            inner,
            sums[spans],
            cell_label[spans],
            starts,
            outer_weights,
            overlap.signs[sets],
            between,
            scale,
        )

    def batches(self, patterns: int) -> Iterator[slice]:
        """Slices of the patterns, so many at a time that memory stays bounded."""
        methods = self.own.shape[1]
        each = methods * (8 * methods + 2 * len(self.outer) + 2 * len(self.outer_set))
        size = max(1, _BATCH // each)
        for start in range(0, patterns, size):
            yield slice(start, start + size)

    def statistics(self, signs: np.ndarray, shifts: np.ndarray | None) -> np.ndarray:
        """Per pattern and pair d² / (V + d²), which grows with |d| / √V and is 1 where V is 0.

        Args:
            signs: Labels x patterns.
            shifts: Patterns x methods, by how much the trainings move the means.

        Returns:
            Patterns x methods x methods, 0 to 1.
        """
        estimate = signs.T @ self.own
        means = np.tensordot(signs.T, self.means, 1)
        least = self.of_labels.at(signs, means)
        form = self.inner.at(signs, means)
        if len(self.outer_set):
            flipped = signs.T[:, self.outer_label, None] * self.outer
            sums = np.add.reduceat(flipped, self.outer_set, axis=1)
            sums -= np.matmul(self.outer_weights, means)
            form += np.matmul(sums.transpose(0, 2, 1) * self.outer_signs, sums)
        variance = np.maximum(np.maximum(_of_pairs(form), _of_pairs(least)), 0.0)
        variance += self.between[:, None] + self.between
        if shifts is not None:
            estimate = estimate + shifts
        difference = estimate[:, :, None] - estimate[:, None, :]
        size = self.scale[:, None] + self.scale
        difference[np.abs(difference) <= _ROUNDING * size] = 0.0
        squared = difference**2
        total = variance + squared
        return np.divide(squared, total, out=np.zeros_like(total), where=squared > 0)


def _of_pairs(form: np.ndarray) -> np.ndarray:
    """From a form over methods to that of their differences: Q(i, i) + Q(j, j) - 2 Q(i, j)."""
    diagonal = np.diagonal(form, axis1=1, axis2=2)
    return diagonal[:, :, None] + diagonal[:, None, :] - 2.0 * form


def rank_ranges(
    values: Mapping[str, np.ndarray],
    parts: Sequence[Part],
    clusters: Clusters,
    higher_is_better: bool = True,
    seed: int = BOOTSTRAP_SEED,
    trainings: Mapping[str, tuple[Trainings, ...]] | None = None,
) -> dict[str, tuple[int, int]]:
    """Per method the range of its rank.

    It goes from 1 + the methods that are significantly better to M - those that are significantly
    worse. Two methods differ significantly where `pairwise_p` of all M gives them at most 0.05.

    Args:
        values: By method, its value of one metric per item.
        parts: The estimate, e.g. of one group.
        clusters: What the items share.
        higher_is_better: Of the metric.
        seed: Of the sign patterns.
        trainings: By method, what its trainings add to the variance, where `values` are means over
            several.

    Returns:
        By method the first and the last rank.

    Raises:
        InputError: The methods have values for different numbers of items.
    """
    names = list(values)
    if len({len(column) for column in values.values()}) > 1:
        raise InputError("The methods to be ranked have values for different numbers of items.")
    if not names:
        return {}
    columns = np.column_stack([np.asarray(values[name], dtype=np.float64) for name in names])
    known = [(trainings or {}).get(name, ()) for name in names]
    p = pairwise_p(columns, parts, clusters, seed, trainings=known)
    return ranks_from(names, p, point_estimates(parts, columns), higher_is_better)


def point_estimates(parts: Sequence[Part], values: np.ndarray) -> np.ndarray:
    """The estimate of each column of `values` (items x columns)."""
    return np.sum([part.share * (part.weights @ values[part.rows]) for part in parts], axis=0)


def ranks_from(
    names: Sequence[str], p: np.ndarray, points: np.ndarray, higher_is_better: bool
) -> dict[str, tuple[int, int]]:
    """The ranges of ranks that follow from the p-values of all pairs (methods x methods)."""
    significant = np.nan_to_num(p, nan=1.0) <= LEVEL
    ahead = points[:, None] > points if higher_is_better else points[:, None] < points
    better = significant & ahead
    beaten, beats = better.sum(axis=0), better.sum(axis=1)
    return {name: (1 + int(beaten[i]), len(names) - int(beats[i])) for i, name in enumerate(names)}
