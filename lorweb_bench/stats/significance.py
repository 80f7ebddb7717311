"""Whether paired differences are more than chance: sign-flips over clusters, and rank ranges.

All pairs of methods are tested at once, from one set of sign patterns, by the step-down maximum of
their statistics (Westfall and Young 1993; Romano and Wolf 2005). A p-value is then a share of the
patterns in which the largest statistic reaches what was observed, so that it does not run into the
number of pairs, as a p-value that is multiplied by that number does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.protocol import BOOTSTRAP_SEED
from lorweb_bench.stats.bootstrap import Trainings
from lorweb_bench.stats.clusters import (
    MAX_SHARED,
    Clusters,
    Part,
    effective_number,
    estimable,
    freedoms,
    variance_of,
)

LEVEL = 0.05
FLIPS = (
    4096  # where all sign patterns are no more than this they are all tried, else so many at random
)
_BATCH = 4_000_000  # numbers held at a time, 32 MB
_PAIRS = 256  # of methods whose variances are taken at a time
_ROUNDING = 1e-12  # a difference below this share of what it is the difference of is none
_EQUAL = 1e-9  # statistics that differ by less are equal


def sign_patterns(clusters: int, seed: int, flips: int = FLIPS) -> np.ndarray:
    """Signs, clusters x patterns, of which the first are all ones.

    A pattern and its opposite give the same two-sided statistic, so the first cluster keeps its
    sign when all patterns are listed.

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
    flipped together. The statistic is the mean difference over its standard error, in which items
    that share a family or a photograph count as dependent, and which is taken around the mean of
    the flipped differences. Then the signs of whole photographs behind b are flipped instead, and
    of those behind a, and the largest p-value counts: what few photographs leave open does not
    show where families are flipped. Where families are all that items share, it is the plain
    sign-flip test. The p-values are adjusted over all pairs by the step-down maximum: the chance
    of any wrong rejection is the level.

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
    if count < 2:
        return adjusted
    observed = _Observed.of(values, parts, clusters, trainings)
    shifts = _training_shifts(flips, seed, trainings)
    p = np.zeros(len(observed.first))
    for code in _units(parts, clusters):
        p = np.maximum(p, _step_down(observed, values, parts, clusters, code, seed, flips, shifts))
    adjusted[observed.first, observed.second] = p
    adjusted[observed.second, observed.first] = p
    return adjusted


def _units(parts: Sequence[Part], clusters: Clusters) -> Iterator[np.ndarray]:
    """What is flipped together, as a code per item: families, and photographs that items share."""
    yield clusters.labels
    rows = np.concatenate([part.rows for part in parts])
    for code in (clusters.sources, clusters.a_sources)[: len(clusters.sharing_source)]:
        if len(np.unique(code[rows])) < len(rows):
            yield code


@dataclass(frozen=True)
class _Observed:
    """The data's own statistics of all pairs of methods, the most significant first.

    Args:
        first: Of each pair a method.
        second: And the other one.
        statistics: d² / (V + d²) of their difference d with the variance V.
        between: Per pair, the variance between trainings, which is in V.
        smallest: Per pair, what d has to be above not to be rounding.
        freedom: The least degrees of freedom that V is known with.
    """

    first: np.ndarray
    second: np.ndarray
    statistics: np.ndarray
    between: np.ndarray
    smallest: np.ndarray
    freedom: float

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        parts: Sequence[Part],
        clusters: Clusters,
        trainings: Sequence[Sequence[Trainings]] | None,
    ) -> "_Observed":
        """From items x methods."""
        first, second = np.triu_indices(values.shape[1], 1)
        variance = np.empty(len(first))
        for start in range(0, len(first), _PAIRS):
            few = slice(start, start + _PAIRS)
            differences = values[:, first[few]] - values[:, second[few]]
            variance[few] = variance_of(parts, differences, clusters)
        between, scale = np.zeros(values.shape[1]), np.zeros(values.shape[1])
        for method, sources in enumerate(trainings or ()):
            between[method] = sum(source.variance for source in sources)
        for part in parts:
            scale += abs(part.share) * (part.weights @ np.abs(values[part.rows]))
        between, smallest = between[first] + between[second], scale[first] + scale[second]
        points = point_estimates(parts, values)
        difference = points[first] - points[second]
        statistics = _statistics(difference, variance + between, _ROUNDING * smallest)
        order = np.argsort(-statistics, kind="stable")
        return cls(
            first[order],
            second[order],
            statistics[order],
            between[order],
            _ROUNDING * smallest[order],
            min(freedoms(parts, clusters)),
        )

    def with_freedom(self, freedom: float) -> np.ndarray:
        """The statistics as they would be, were V known with these degrees of freedom.

        Flipped units are independent of each other; the data share families and photographs, so
        that their variance may be known less well. Then each statistic is brought from one Student
        distribution to the other, by its p-value. It is never made larger.
        """
        from scipy import stats

        if self.freedom >= freedom - _ROUNDING:
            return self.statistics
        t_values = np.sqrt(self.statistics / np.maximum(1.0 - self.statistics, 1e-300))
        squared = stats.t.isf(stats.t.sf(t_values, self.freedom), freedom) ** 2
        return np.minimum(self.statistics, 1.0 - 1.0 / (1.0 + squared))


def _statistics(difference: np.ndarray, variance: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """d² / (V + d²), which grows with |d| / √V, is 1 where V is 0, and 0 where d is rounding."""
    squared = np.where(np.abs(difference) <= smallest, 0.0, difference**2)
    total = np.maximum(variance, 0.0) + squared
    return np.divide(squared, total, out=np.zeros_like(total), where=squared > 0)


def _step_down(
    observed: _Observed,
    values: np.ndarray,
    parts: Sequence[Part],
    clusters: Clusters,
    code: np.ndarray,
    seed: int,
    flips: int,
    shifts: np.ndarray | None,
) -> np.ndarray:
    """The adjusted p-values of all pairs, in the order of `observed`, when units are flipped.

    A pair is held against the maximum over itself and those that are no more significant (Westfall
    and Young's step-down; Ge, Dudoit and Speed 2003).
    """
    form = _FlippedForm.of(observed, values, parts, clusters, code)
    signs = sign_patterns(form.units, seed, flips)
    if shifts is not None:  # where all patterns of signs are fewer than the shifts, they recur
        count = max(len(shifts), signs.shape[1])
        signs = np.tile(signs, (1, -(-count // signs.shape[1])))[:, :count]
    freedom = effective_number(parts, code) - 1.0
    threshold = observed.with_freedom(freedom) * (1.0 - _EQUAL)
    reached = np.ones(len(threshold))  # by the first pattern, which is the data's own
    for batch in form.batches(signs.shape[1]):
        moved = None if shifts is None else shifts[batch]
        flipped = form.statistics(signs[:, batch], moved)
        largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
        reached += np.sum(largest >= threshold, axis=0)
    return np.maximum.accumulate(reached / signs.shape[1])


def _training_shifts(
    flips: int, seed: int, trainings: Sequence[Sequence[Trainings]] | None
) -> np.ndarray | None:
    """Patterns x methods: by how much the trainings move each mean."""
    if not trainings or not any(trainings):
        return None
    rng = np.random.default_rng([seed, 1])
    shifts = np.zeros((flips + 1, len(trainings)))
    for method, sources in enumerate(trainings):
        for source in sources:
            drawn = rng.standard_t(source.freedom, size=len(shifts))
            shifts[:, method] += np.sqrt(source.variance) * drawn
    return shifts


class _FlippedForm:
    """Differences of all pairs of methods and their variances, for any signs of the units.

    With d the flipped sum of a set of elements, w its weight in each part and m the parts' flipped
    means, a set counts (d - w·m)². Of a set within one unit d² stays, so that only sums per unit
    are needed; a set that reaches over several units is summed anew for each pattern. A variance
    is a quadratic form in the values, so that of a difference follows from the form over methods:
    V(i - j) = Q(i, i) + Q(j, j) - 2 Q(i, j). No array of items x pairs is ever made.
    """

    def __init__(self, observed: _Observed, own: np.ndarray, means: np.ndarray) -> None:
        self.observed = observed
        self.own = own  # units x methods: what a unit adds to the estimate
        self.means = means  # units x parts x methods: what it adds to the mean of each part
        self.forms: list[_QuadraticForm] = []

    @classmethod
    def of(
        cls,
        observed: _Observed,
        values: np.ndarray,
        parts: Sequence[Part],
        clusters: Clusters,
        code: np.ndarray,
    ) -> "_FlippedForm":
        """From items x methods. Variances are corrected as those of independent units are."""
        from scipy import sparse

        rows = np.concatenate([part.rows for part in parts])
        _, unit = np.unique(code[rows], return_inverse=True)
        weights = np.concatenate([part.share * part.weights for part in parts])
        moved = weights[:, None] * (values[rows] - values[rows].mean(axis=1, keepdims=True))
        by_unit = sparse.csr_array((np.ones(len(rows)), (unit, np.arange(len(rows)))))
        means = np.zeros((by_unit.shape[0], len(parts), values.shape[1]))
        in_part = np.zeros((len(rows), len(parts)))
        corrected = np.zeros_like(moved)
        start = 0
        for p, part in enumerate(parts):
            chosen = slice(start, start + len(part.rows))
            shared = min(1.0 / effective_number([part], code), MAX_SHARED)
            in_part[chosen, p] = weights[chosen] / np.sqrt(1.0 - shared)
            corrected[chosen] = moved[chosen] / np.sqrt(1.0 - shared)
            means[:, p] = by_unit[:, chosen] @ (moved[chosen] / part.share)
            start = chosen.stop
        form = cls(observed, by_unit @ moved, means)
        elements = clusters.sharing_any
        for sets, signs in ((elements.member[:, rows], elements.signs), (by_unit, None)):
            form.forms.append(_QuadraticForm.of(sets, signs, corrected, in_part, unit, observed))
        return form

    @property
    def units(self) -> int:
        """How many units are flipped."""
        return len(self.own)

    def batches(self, patterns: int) -> Iterator[slice]:
        """Slices of the patterns but the first, so many at a time that memory stays bounded."""
        pairs, methods = len(self.observed.first), self.own.shape[1]
        sets = sum(len(form.outer) + len(form.outer_starts) for form in self.forms)
        size = max(1, _BATCH // (16 * pairs + methods * (2 * sets + methods)))
        for start in range(1, patterns, size):
            yield slice(start, min(start + size, patterns))

    def statistics(self, signs: np.ndarray, shifts: np.ndarray | None) -> np.ndarray:
        """The statistics of each pattern and pair.

        Args:
            signs: Units x patterns.
            shifts: Patterns x methods, by how much the trainings move the means.

        Returns:
            Patterns x pairs, 0 to 1.
        """
        estimate = signs.T @ self.own
        means = np.tensordot(signs.T, self.means, 1)
        of_any, of_units = (form.at(signs, means) for form in self.forms)
        variance = np.maximum(np.maximum(of_any, of_units), 0.0) + self.observed.between
        if shifts is not None:
            estimate = estimate + shifts
        difference = _of_pairs(estimate, self.observed)
        return _statistics(difference, variance, self.observed.smallest)


def _of_pairs(values: np.ndarray, observed: _Observed) -> np.ndarray:
    """The differences of all pairs of methods, which are the last axis of `values`."""
    pair_differences = np.take(values, observed.first, axis=-1)
    pair_differences -= np.take(values, observed.second, axis=-1)
    return pair_differences


def _form_of_pairs(form: np.ndarray, observed: _Observed) -> np.ndarray:
    """From forms over methods (… x methods x methods) to those of differences."""
    diagonal = np.diagonal(form, axis1=-2, axis2=-1)
    differences = np.take(diagonal, observed.first, axis=-1)
    differences = differences + np.take(diagonal, observed.second, axis=-1)
    differences -= 2.0 * form[..., observed.first, observed.second]
    return differences


@dataclass(frozen=True)
class _QuadraticForm:
    """The variance over sets of items, per pair of methods, for any signs of the units."""

    observed: _Observed
    squares: np.ndarray  # pairs: the sum of d² of the sets within a unit
    crossed: np.ndarray  # units x parts x methods: the sum of w·d of these
    weights: np.ndarray  # parts x parts: the sum of w·w' of these
    outer: np.ndarray  # (set and unit) x methods: sums of the sets that reach over units
    outer_unit: np.ndarray
    outer_starts: np.ndarray  # where the rows of each such set begin in `outer`
    outer_weights: np.ndarray  # sets x parts
    outer_signs: np.ndarray

    @classmethod
    def of(
        cls,
        member: Any,
        signs: np.ndarray | None,
        moved: np.ndarray,
        in_part: np.ndarray,
        unit: np.ndarray,
        observed: _Observed,
    ) -> "_QuadraticForm":
        """From sets x rows (sparse), the sign of each set, and what each row adds to the estimate.

        `moved` is rows x methods, `in_part` rows x parts, `unit` the unit of each row.
        """
        from scipy import sparse

        count = int(unit.max()) + 1
        held = sparse.coo_array(member)
        signs = np.ones(held.shape[0]) if signs is None else signs
        cells, cell = np.unique(held.row * count + unit[held.col], return_inverse=True)
        to_cell = sparse.csr_array(
            (np.ones(len(cell)), (cell, held.col)), shape=(len(cells), len(unit))
        )
        sums, weights = to_cell @ moved, to_cell @ in_part
        cell_set, cell_unit = np.divmod(cells, count)
        inside = np.bincount(cell_set, minlength=len(signs))[cell_set] == 1
        own_signs = signs[cell_set[inside]]
        inner, inner_weights = sums[inside], weights[inside]
        crossed = np.zeros((count, in_part.shape[1], moved.shape[1]))
        for part, signed in enumerate((own_signs[:, None] * inner_weights).T):
            np.add.at(crossed[:, part], cell_unit[inside], signed[:, None] * inner)
        sets, starts = np.unique(cell_set[~inside], return_index=True)
        none = np.zeros((0, in_part.shape[1]))
        return cls(
            observed,
            _form_of_pairs((inner.T * own_signs) @ inner, observed),
            crossed,
            (inner_weights.T * own_signs) @ inner_weights,
            sums[~inside],
            cell_unit[~inside],
            starts,
            np.add.reduceat(weights[~inside], starts, axis=0) if len(starts) else none,
            signs[sets],
        )

    def at(self, signs: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Patterns x pairs, for units x patterns and patterns x parts x methods."""
        of_means = _of_pairs(means, self.observed)
        around = (
            np.einsum("pq,bqn->bpn", self.weights, of_means)
            if len(self.weights) > 1
            else (self.weights[0, 0] * of_means)
        )
        around -= 2.0 * _of_pairs(np.tensordot(signs.T, self.crossed, 1), self.observed)
        around *= of_means
        form = around.sum(axis=1)
        form += self.squares
        if len(self.outer_starts):
            flipped = signs.T[:, self.outer_unit, None] * self.outer
            sums = np.add.reduceat(flipped, self.outer_starts, axis=1)
            sums -= np.matmul(self.outer_weights, means)
            over_methods = np.matmul(sums.transpose(0, 2, 1) * self.outer_signs, sums)
            form += _form_of_pairs(over_methods, self.observed)
        return form


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
    trainings_of = [(trainings or {}).get(name, ()) for name in names]
    p = pairwise_p(columns, parts, clusters, seed, trainings=trainings_of)
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
