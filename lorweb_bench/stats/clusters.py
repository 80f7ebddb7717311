"""What items share, and the variance of a mean that follows from it.

Items that share a family of transformations, or a photograph, are not independent. The variance of
a mean over them is the sum over all pairs of items that share something (Cameron, Gelbach and
Miller 2011; for compositions, which belong to two families, Aronow, Samii and Assenova 2015),
corrected for small numbers of clusters. `benchmarks/coverage.py` measures the coverage of what is
built on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lorweb_bench.data.composition import families_of
from lorweb_bench.protocol import MIN_CLUSTERS

MAX_SHARED = 0.75  # when more of a part's pairs of items than this share a cluster, no variance
_BATCH = 4_000_000  # bootstrap weights held at a time, 32 MB
_COLUMNS = 256  # whose variances are taken at a time


@dataclass(frozen=True)
class Part:
    """A weighted mean of items within a larger estimate, e.g. one tier of `unseen`.

    Args:
        rows: Indices of items.
        weights: As many weights, which sum to 1.
        share: What the part counts in the estimate; negative for what is subtracted.
    """

    rows: np.ndarray
    weights: np.ndarray
    share: float = 1.0


@dataclass(frozen=True)
class Spread:
    """The variance of an estimate, one per column, with its degrees of freedom."""

    variance: np.ndarray
    freedom: np.ndarray


class Overlap:
    """Sums over all pairs of items that share at least one element.

    They are had by inclusion and exclusion over sets of elements: the sum of u·u' over these pairs
    is the sum over all sets that an item holds of sign · (sum of u over the items that hold the
    set)².

    Args:
        elements: Per item, the elements that it holds.
    """

    def __init__(self, elements: Sequence[Sequence[tuple[str, int]]]) -> None:
        from scipy import sparse

        codes: dict[tuple[tuple[str, int], ...], int] = {}
        entries: list[tuple[int, int]] = []
        for item, held in enumerate(elements):
            for subset in _subsets(held):
                entries.append((codes.setdefault(subset, len(codes)), item))
        sets, items = np.array(entries, dtype=np.intp).reshape(-1, 2).T
        self.signs = np.array([1.0 if len(subset) % 2 else -1.0 for subset in codes])
        self.member = sparse.csc_array(
            (np.ones(len(sets)), (sets, items)), shape=(len(codes), len(elements))
        )

    def sums(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Per set of elements, the sum of values over the items that hold the set.

        Args:
            rows: Indices of items.
            values: One row per entry of `rows`.
        """
        return self.member[:, rows] @ values


def _subsets(held: Sequence[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], ...]]:
    for size in range(1, len(held) + 1):
        yield from combinations(held, size)


class Clusters:
    """What the items of a table share: families and photographs.

    Args:
        families: Per item its family; a composition "f1+f2" belongs to both.
        b_sources: Per item the photograph or scene behind b.
        a_sources: Per item the one behind a. It counts as a cluster where there are at least 8 of
            them; fewer can say nothing of other ones, so what is stated then is for these alone.
    """

    def __init__(
        self,
        families: Sequence[str],
        b_sources: Sequence[str],
        a_sources: Sequence[str] | None = None,
    ) -> None:
        members = [sorted(set(families_of(str(label)))) for label in families]
        self.family_names = sorted({name for names in members for name in names})
        code = {name: i for i, name in enumerate(self.family_names)}
        self.families = [tuple(map(code.__getitem__, names)) for names in members]
        self.source_names, self.sources = _coded(b_sources)
        kinds = [[("b", int(source))] for source in self.sources]
        self.sharing_source = [Overlap(kinds)]
        self.a_names, self.a_sources = _coded(a_sources or ["a"] * len(members))
        if len(self.a_names) >= MIN_CLUSTERS:
            of_a = [[("a", int(source))] for source in self.a_sources]
            self.sharing_source.append(Overlap(of_a))
            kinds = [a + b for a, b in zip(of_a, kinds, strict=True)]
        of_family = []
        for names in self.families:
            of_family.append([("family", family) for family in names])
        labels = {names: i for i, names in enumerate(sorted(set(self.families)))}
        self.labels = np.array([labels[names] for names in self.families], dtype=np.intp)
        self.sharing_label = Overlap([[("label", int(label))] for label in self.labels])
        self.sharing_family = Overlap(of_family)
        self.sharing_any = Overlap([f + s for f, s in zip(of_family, kinds, strict=True)])

    @property
    def counts_a(self) -> bool:
        """Whether the photographs behind a are clusters."""
        return len(self.sharing_source) > 1

    def counts(self, rows: np.ndarray) -> tuple[int, int]:
        """The numbers of families and of sources of b among some items."""
        families: set[int] = set()
        for i in rows:
            families.update(self.families[i])
        return len(families), len(np.unique(self.sources[rows]))

    def draws(self, seed: int, resamples: int) -> Iterator[np.ndarray]:
        """Bootstrap weights, resamples x items, in batches.

        Each family and each source gets a multiplicity; an item's weight is the product of its own.
        They are exponential (Rubin's bootstrap) instead of whole numbers, so that a transformation
        with a single item never drops out, and go by sorted names, so that the order of the rows
        means nothing.
        """
        rng = np.random.default_rng(seed)
        of_family = rng.exponential(size=(resamples, len(self.family_names)))
        no_further_family = np.ones((resamples, 1))
        of_family = np.hstack([of_family, no_further_family])
        of_source = rng.exponential(size=(resamples, len(self.source_names)))
        of_a = rng.exponential(size=(resamples, len(self.a_names)))
        widest = max(len(names) for names in self.families)
        padded = [names + (-1,) * (widest - len(names)) for names in self.families]
        columns = np.array(padded, dtype=np.intp).T
        size = max(1, _BATCH // len(self.families))
        for start in range(0, resamples, size):
            batch = slice(start, start + size)
            weights = of_source[batch][:, self.sources]
            if self.counts_a:
                weights *= of_a[batch][:, self.a_sources]
            for column in columns:
                weights *= of_family[batch][:, column]
            yield weights


def _coded(names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The sorted distinct names, and per item the place of its own among them."""
    distinct, code = np.unique(np.array([str(name) for name in names]), return_inverse=True)
    return distinct.tolist(), code.astype(np.intp)


def estimable(parts: Sequence[Part], clusters: Clusters) -> bool:
    """Whether an interval can be given.

    There have to be at least 8 families and 8 sources of b, and no part in which nearly all items
    share a cluster.
    """
    if not parts or min(clusters.counts(np.concatenate([p.rows for p in parts]))) < MIN_CLUSTERS:
        return False
    return all(shared_pairs(part, part, clusters.sharing_any) <= MAX_SHARED for part in parts)


def shared_pairs(first: Part, second: Part, overlap: Overlap) -> float:
    """The weighted share of the pairs of items of two parts that share an element, 0 to 1."""
    sums = [overlap.sums(part.rows, part.weights) for part in (first, second)]
    return float(overlap.signs @ (sums[0] * sums[1]))


def _influence(part: Part, values: np.ndarray) -> np.ndarray:
    """What each item moves the estimate by: weight times distance from the part's mean."""
    part_values = values[part.rows]
    return part.share * part.weights[:, None] * (part_values - part.weights @ part_values)


def _variance(parts: Sequence[Part], values: np.ndarray, overlap: Overlap) -> np.ndarray:
    """The variance per column when just the items that share an element are dependent.

    A mean taken from the same items takes up a part of their common deviation, about as large as
    the part of the pairs of items that share something: dividing by one less that makes up for it
    (G / (G - 1) for G equal clusters).
    """
    influence = [overlap.sums(part.rows, _influence(part, values)) for part in parts]
    total = np.zeros(values.shape[1])
    for i, first in enumerate(parts):
        for j, second in enumerate(parts):
            shared = min(shared_pairs(first, second, overlap), MAX_SHARED)
            total += overlap.signs @ (influence[i] * influence[j]) / (1.0 - shared)
    return total


def _family_freedom(parts: Sequence[Part], clusters: Clusters) -> float:
    """Degrees of freedom of the variance over families (Bell and McCaffrey 2002).

    They are those that there would be, were each family's effect independent: G - 1 for G equal
    families; fewer for unequal ones, and for compositions, where one family is in many pairs.
    """
    overlap, count = clusters.sharing_family, len(clusters.family_names)
    influence = []
    for part in parts:
        effects = np.zeros((len(part.rows), count))
        for row, item in enumerate(part.rows):
            effects[row, list(clusters.families[item])] = 1.0
        centred = effects - part.weights @ effects
        influence.append(overlap.sums(part.rows, part.share * part.weights[:, None] * centred))
    across = np.hstack(influence)
    form = (across.T * overlap.signs) @ across
    return float(np.trace(form) ** 2 / max(np.sum(form**2), 1e-300))


def variance_of(parts: Sequence[Part], values: np.ndarray, clusters: Clusters) -> np.ndarray:
    """The variance of an estimate, one per column of `values` (items x columns).

    The sum over pairs of items can come out too small by chance, so the variance is never below
    that of whole families (or pairs of families) alone.
    """
    variances = []
    for start in range(0, values.shape[1], _COLUMNS):
        few = values[:, start : start + _COLUMNS]
        least = np.maximum(_variance(parts, few, clusters.sharing_label), 0.0)
        variances.append(np.maximum(_variance(parts, few, clusters.sharing_any), least))
    return np.concatenate(variances)


def freedoms(parts: Sequence[Part], clusters: Clusters) -> list[float]:
    """Degrees of freedom of the variance over families, over sources of b, and over those of a."""
    numbers = [_family_freedom(parts, clusters)]
    for sources in (clusters.sources, clusters.a_sources)[: len(clusters.sharing_source)]:
        numbers.append(effective_number(parts, sources) - 1.0)
    return [max(1.0, freedom) for freedom in numbers]


def effective_number(parts: Sequence[Part], code: np.ndarray) -> float:
    """How many clusters of equal weight would tell as much: `code` has the cluster of each item."""
    rows = np.concatenate([part.rows for part in parts])
    weights = np.concatenate([abs(part.share) * part.weights for part in parts])
    shares = np.bincount(code[rows], weights=weights) / weights.sum()
    return float(1.0 / np.sum(shares**2))


def spread(parts: Sequence[Part], values: np.ndarray, clusters: Clusters) -> Spread:
    """The variance of an estimate, and the degrees of freedom that it is known with.

    The degrees of freedom are Satterthwaite's over families and sources, and never below the
    smallest of these.

    Args:
        parts: The estimate, for which `estimable` holds.
        values: Items x columns.
        clusters: What the items share.
    """
    values = np.asarray(values, dtype=np.float64)
    variance, of_clusters = variance_of(parts, values, clusters), freedoms(parts, clusters)
    noise = np.zeros_like(variance)
    overlaps = [clusters.sharing_family, *clusters.sharing_source]
    for overlap, freedom in zip(overlaps, of_clusters, strict=True):
        noise += np.maximum(_variance(parts, values, overlap), 0.0) ** 2 / freedom
    least = np.full_like(variance, min(of_clusters))
    total = np.divide(variance**2, noise, out=least.copy(), where=noise > 0)
    return Spread(variance, np.maximum(total, least))
