"""Intervals for means of items that share families and photographs: a two-way bootstrap with its spread set right.

Items that share a family of transformations, or the photograph behind b, are not independent. Resampling both at once
gives the shape of the distribution but not its width: it counts the noise of single items three times over, and it knows
nothing of the mean having been estimated from the same few clusters. So the draws are scaled to the variance that follows
from which items share what (Cameron, Gelbach and Miller 2011; for compositions, which belong to two families, Aronow,
Samii and Assenova 2015), corrected for small numbers of clusters. `benchmarks/coverage.py` measures the coverage.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lorweb_bench.data.composition import families_of
from lorweb_bench.protocol import BOOTSTRAP_SEED, CONFIDENCE, MIN_CLUSTERS

RESAMPLES = 1000
MAX_SHARED = 0.75  # when more of a part's pairs of items than this share a cluster, its spread cannot be known
_BATCH = 4_000_000  # weights held at a time, 32 MB


@dataclass(frozen=True)
class Part:
    """A weighted mean of items within a larger estimate, e.g. one tier of `unseen`.

    `rows` are item indices, `weights` as many and summing to 1; `share` is what the part counts in the estimate, and is
    negative for what is subtracted.
    """

    rows: np.ndarray
    weights: np.ndarray
    share: float = 1.0


@dataclass(frozen=True)
class Spread:
    """The variance of an estimate, one value per column, and the degrees of freedom that it is known with."""

    variance: np.ndarray
    freedom: np.ndarray


@dataclass(frozen=True)
class Trainings:
    """What the mean over several trainings of one method varies by because trainings differ, and the degrees of freedom of that."""

    variance: float
    freedom: float


def between_trainings(means: Sequence[float]) -> tuple[Trainings, ...]:
    """s²/S with S - 1 degrees of freedom, for the estimate of each training; none for one training, which cannot tell.

    Tuples of two methods are joined for their difference: trainings are independent, so their variances add up.
    """
    if len(means) < 2:
        return ()
    return (Trainings(float(np.var(means, ddof=1)) / len(means), len(means) - 1.0),)


def reach(items: Spread, trainings: Sequence[Sequence[Trainings]], tail: float) -> np.ndarray:
    """Half the width of an interval that leaves `tail` on either side: standard error times Student's quantile, per column.

    Where a column has several sources of variance, the quantile is the mean of theirs, weighted by variance (Cochran and Cox
    1957): for two or three trainings Satterthwaite's covers too seldom, this never (`benchmarks/coverage.py --trainings`).
    """
    from scipy import stats

    total = items.variance + np.array([sum(t.variance for t in own) for own in trainings])
    weighted = items.variance * stats.t.isf(tail, items.freedom)
    weighted = weighted + np.array(
        [sum(t.variance * float(stats.t.isf(tail, t.freedom)) for t in own) for own in trainings]
    )
    return np.asarray(
        np.divide(weighted, np.sqrt(total), out=np.zeros_like(total), where=total > 0)
    )


class Overlap:
    """Sums over all pairs of items that share at least one element, by inclusion and exclusion over sets of elements."""

    def __init__(self, elements: Sequence[Sequence[tuple[str, int]]]) -> None:
        from scipy import sparse

        codes: dict[tuple[tuple[str, int], ...], int] = {}
        entries = [
            (codes.setdefault(subset, len(codes)), item)
            for item, own in enumerate(elements)
            for size in range(1, len(own) + 1)
            for subset in combinations(own, size)
        ]
        rows, columns = np.array(entries, dtype=np.intp).reshape(-1, 2).T
        self.signs = np.array([1.0 if len(subset) % 2 else -1.0 for subset in codes])
        self._member = sparse.csc_array(
            (np.ones(len(rows)), (rows, columns)), shape=(len(codes), len(elements))
        )

    def of(self, rows: np.ndarray) -> Any:
        """The sets of elements that some items hold, as a sparse matrix of ones, sets x items."""
        return self._member[:, rows]

    def sums(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Per set of elements, the sum of `values` (one row per entry of `rows`) over the items that hold the set."""
        return self._member[:, rows] @ values


class Clusters:
    """What the items of a table share: the families of a transformation (two for a composition "f1+f2"), the source of b."""

    def __init__(self, families: Sequence[str], sources: Sequence[str]) -> None:
        members = [sorted(set(families_of(str(label)))) for label in families]
        self.family_names = sorted({name for own in members for name in own})
        self.source_names = sorted({str(name) for name in sources})
        family_code = {name: i for i, name in enumerate(self.family_names)}
        source_code = {name: i for i, name in enumerate(self.source_names)}
        self.families = [tuple(family_code[name] for name in own) for own in members]
        self.sources = np.array([source_code[str(name)] for name in sources], dtype=np.intp)
        of_family = [[("family", f) for f in own] for own in self.families]
        of_source = [[("source", int(s))] for s in self.sources]
        labels = {own: i for i, own in enumerate(sorted(set(self.families)))}
        self.sharing_label = Overlap([[("label", labels[own])] for own in self.families])
        self.sharing_family = Overlap(of_family)
        self.sharing_source = Overlap(of_source)
        self.sharing_either = Overlap([f + s for f, s in zip(of_family, of_source, strict=True)])

    def counts(self, rows: np.ndarray) -> tuple[int, int]:
        """The numbers of families and of sources among some items."""
        return len({f for i in rows for f in self.families[i]}), len(np.unique(self.sources[rows]))

    def draws(self, seed: int, resamples: int) -> Iterator[np.ndarray]:
        """Bootstrap weights, resamples x items, in batches.

        Each family and each source gets a multiplicity; an item's weight is the product of its own. They are exponential
        (Rubin's bootstrap) instead of whole numbers, so that a transformation with a single item never drops out, and go
        by sorted names, so that the order of the rows means nothing.
        """
        rng = np.random.default_rng(seed)
        of_family = rng.exponential(size=(resamples, len(self.family_names)))
        of_family = np.hstack(
            [of_family, np.ones((resamples, 1))]
        )  # the last stands for "no further family"
        of_source = rng.exponential(size=(resamples, len(self.source_names)))
        widest = max(len(own) for own in self.families)
        columns = np.array(
            [own + (-1,) * (widest - len(own)) for own in self.families], dtype=np.intp
        ).T
        size = max(1, _BATCH // len(self.families))
        for start in range(0, resamples, size):
            some = slice(start, start + size)
            weights = of_source[some][:, self.sources]
            for column in columns:
                weights *= of_family[some][:, column]
            yield weights


def estimable(parts: Sequence[Part], clusters: Clusters) -> bool:
    """Whether an interval can be given: at least 8 families and 8 sources, and no part in which nearly all items share one."""
    if not parts or min(clusters.counts(np.concatenate([p.rows for p in parts]))) < MIN_CLUSTERS:
        return False
    overlap = clusters.sharing_either
    return all(overlap.signs @ overlap.sums(p.rows, p.weights) ** 2 <= MAX_SHARED for p in parts)


def _centred(part: Part, values: np.ndarray) -> np.ndarray:
    """What each item moves the estimate by, items x columns: weight times its distance from the mean of the part."""
    own = values[part.rows]
    return part.share * part.weights[:, None] * (own - part.weights @ own)


def _variance(parts: Sequence[Part], values: np.ndarray, overlap: Overlap) -> np.ndarray:
    """The variance per column when just the items that share an element are dependent.

    A mean taken from the same items takes up a part of their common deviation, about as large as the part of the pairs
    of items that share something: dividing by one less that makes up for it (G / (G - 1) for G equal clusters).
    """
    moved = [overlap.sums(p.rows, _centred(p, values)) for p in parts]
    weight = [overlap.sums(p.rows, p.weights) for p in parts]
    total = np.zeros(values.shape[1])
    for i in range(len(parts)):
        for j in range(len(parts)):
            shared = min(float(overlap.signs @ (weight[i] * weight[j])), MAX_SHARED)
            total += overlap.signs @ (moved[i] * moved[j]) / (1.0 - shared)
    return total


def _family_freedom(parts: Sequence[Part], clusters: Clusters) -> float:
    """Degrees of freedom of the variance over families (Bell and McCaffrey 2002), were each family's effect independent.

    For G equal families G - 1; fewer for unequal ones, and for compositions, where one family is in many pairs.
    """
    overlap, count = clusters.sharing_family, len(clusters.family_names)
    moved = []
    for part in parts:
        effects = np.zeros((len(part.rows), count))
        for row, item in enumerate(part.rows):
            effects[row, list(clusters.families[item])] = 1.0
        moved.append(
            overlap.sums(
                part.rows, part.share * part.weights[:, None] * (effects - part.weights @ effects)
            )
        )
    across = np.hstack(moved)
    form = (across.T * overlap.signs) @ across
    return float(np.trace(form) ** 2 / max(np.sum(form**2), 1e-300))


def _source_freedom(parts: Sequence[Part], clusters: Clusters) -> float:
    """Degrees of freedom of the variance over sources: their effective number less one."""
    rows = np.concatenate([p.rows for p in parts])
    weights = np.concatenate([abs(p.share) * p.weights for p in parts])
    shares = np.bincount(clusters.sources[rows], weights=weights) / weights.sum()
    return float(1.0 / np.sum(shares**2) - 1.0)


def spread(parts: Sequence[Part], values: np.ndarray, clusters: Clusters) -> Spread:
    """Variance and degrees of freedom of the estimate `parts` of `values` (items x columns); only where `estimable`.

    The sum over pairs of items can come out too small by chance, so the variance is never below that of resampling whole
    families (or pairs of families) alone. The degrees of freedom are Satterthwaite's over families and sources, and never
    below the smaller of the two.
    """
    values = np.asarray(values, dtype=np.float64)
    least = _variance(parts, values, clusters.sharing_label)
    variance = np.maximum(_variance(parts, values, clusters.sharing_either), np.maximum(least, 0.0))
    by_family = np.maximum(_variance(parts, values, clusters.sharing_family), 0.0)
    by_source = np.maximum(_variance(parts, values, clusters.sharing_source), 0.0)
    families, sources = (
        max(_family_freedom(parts, clusters), 1.0),
        max(_source_freedom(parts, clusters), 1.0),
    )
    noise = by_family**2 / families + by_source**2 / sources
    freedom = np.divide(variance**2, noise, out=np.full_like(variance, np.inf), where=noise > 0)
    return Spread(variance, np.maximum(freedom, min(families, sources)))


def intervals(
    estimates: Sequence[Sequence[Part]],
    values: np.ndarray,
    clusters: Clusters,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    trainings: Sequence[Sequence[Sequence[Trainings]]] | None = None,
) -> np.ndarray:
    """95 % intervals as offsets from the point estimates: estimates x columns x (low, high), NaN where none can be given.

    `values` is items x columns. The quantiles of the bootstrap draws give the shape, `spread` the width; `trainings`, by
    estimate and column, is what is added to it where a column is the mean of several trainings.
    """
    from scipy import stats

    values = np.asarray(values, dtype=np.float64)
    offsets = np.full((len(estimates), values.shape[1], 2), np.nan)
    chosen = [g for g, parts in enumerate(estimates) if estimable(parts, clusters)]
    if not chosen:
        return offsets
    drawn = {g: [] for g in chosen}  # type: dict[int, list[np.ndarray]]
    for weights in clusters.draws(seed, resamples):
        for g in chosen:
            drawn[g].append(_draw(estimates[g], values, weights))
    tails = np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    for g in chosen:
        deviations = np.concatenate(drawn[g])
        deviations -= deviations.mean(axis=0)
        extra = trainings[g] if trainings is not None else [()] * values.shape[1]
        scale = reach(spread(estimates[g], values, clusters), extra, tails[0]) / stats.norm.ppf(
            tails[1]
        )
        width = deviations.std(axis=0)
        standard = np.divide(deviations, width, out=np.zeros_like(deviations), where=width > 0)
        offsets[g] = (np.quantile(standard, tails, axis=0) * scale).T
    return offsets


def _draw(parts: Sequence[Part], values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The estimate's deviation in each resample, resamples x columns."""
    total = np.zeros((len(weights), values.shape[1]))
    for part in parts:
        own = values[part.rows]
        drawn = weights[:, part.rows] * part.weights
        total += (
            part.share * (drawn @ (own - part.weights @ own)) / drawn.sum(axis=1, keepdims=True)
        )
    return total
