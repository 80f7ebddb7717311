"""Reports side by side: paired by item, with intervals, corrected over all pairs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from lorweb_bench.compare.comparison import (
    ComparedMethod,
    Comparison,
    Difference,
    Ends,
    GroupResult,
)
from lorweb_bench.compare.opening import (
    Compared,
    common_metric,
    common_metrics,
    open_compared,
    paired_tables,
)
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import BOOTSTRAP_SEED, SUMMARY_GROUPS, TIERS
from lorweb_bench.reports.report import Report
from lorweb_bench.stats.aggregate import (
    Group,
    bounds_of,
    clusters_of,
    groups,
    mean,
    parts_of,
)
from lorweb_bench.stats.bootstrap import Trainings, between_trainings, intervals
from lorweb_bench.stats.clusters import Clusters, Part, estimable, spread
from lorweb_bench.stats.significance import LEVEL, pairwise_p, ranks_from

GROUPS = tuple(dict.fromkeys((*SUMMARY_GROUPS, *reversed(TIERS))))
POWER = 0.8  # the chance to see a difference that the number of transformations is stated for
Table = dict[str, np.ndarray]


Method = tuple[ComparedMethod, np.ndarray]  # with its values, items x trainings


def compare_reports(
    paths: Sequence[str | Path],
    metric: str | None = None,
    seed: int = BOOTSTRAP_SEED,
    trainings: bool = False,
) -> Comparison:
    """Compare reports by one metric, in seen, unseen and every tier.

    So are the judgements of one judge's ratings, over the items that all have, and of one choice,
    whose methods stand against each other. Differences are paired by item.

    Args:
        paths: Folders of reports (with `report.json` and `per_sample.parquet`) or of judgements.
        metric: Its identity; None for `edit_recovery` where all have it, else the first that all
            have.
        seed: Of the bootstrap and of the sign-flips.
        trainings: Whether reports of one method, track and prompt mode are its trainings from
            several
            seeds: one entry, whose values are the means over them and whose intervals hold the
            variation between them.

    Raises:
        InputError: Fewer than two reports, another format version, a missing per-item table, other
            suites or items, a metric that not all have, or one training given twice.
    """
    return _compare(open_compared(paths), metric, seed, trainings)


def compare_all_metrics(
    paths: Sequence[str | Path], seed: int = BOOTSTRAP_SEED, trainings: bool = False
) -> list[Comparison]:
    """`compare_reports` for every metric that all reports have, the one to look at first in
    front.
    """
    compared = open_compared(paths)
    first = common_metric(compared)
    metrics = sorted(common_metrics(compared), key=lambda metric: metric != first)
    return [_compare(compared, metric, seed, trainings) for metric in metrics]


def _compare(
    compared: Sequence[Compared], metric: str | None, seed: int, trainings: bool
) -> Comparison:
    metric = metric or common_metric(compared)
    tables, left_out = paired_tables(compared, metric)
    columns = [table[metric] for table in tables]
    methods = _by_method(compared, columns) if trainings else _by_report(compared, columns)
    first = compared[0].report
    higher = next(iter(first.scores.values()))[metric].higher_is_better
    table, suite = tables[0], f"{first.suite.name} {first.suite.version}"
    clusters, present = clusters_of(table), groups(table)
    results: dict[str, GroupResult] = {}
    for name in GROUPS:
        if name in present:
            parts = parts_of(present[name], table["transformation"])
            count = sum(len(set(table["transformation"][p.rows].astype(str))) for p in parts)
            estimate = _Estimate(name, metric, higher, present[name], table, parts, clusters, count)
            results[name] = _compare_group(estimate, methods, seed)
    return Comparison(suite, metric, higher, tuple(m for m, _ in methods), results, left_out)


def _by_report(compared: Sequence[Compared], columns: Sequence[np.ndarray]) -> list[Method]:
    labels = _labels(compared)
    methods = []
    for label, entry, column in zip(labels, compared, columns, strict=True):
        methods.append((_compared_method(label, [entry.report]), column[:, None]))
    return methods


def _by_method(compared: Sequence[Compared], columns: Sequence[np.ndarray]) -> list[Method]:
    """One entry for each method, track and prompt mode, with its trainings' values."""
    members_of: dict[tuple[object, ...], list[int]] = {}
    for i, training in enumerate(compared):
        r = training.report
        exemplars = f"{r.exemplars} exemplars" if r.exemplars > 1 else None
        setting = (
            r.method.name,
            r.method.version,
            r.track,
            r.prompt_mode,
            r.pairs,
            exemplars,
            r.partial,
        )
        members_of.setdefault(setting, []).append(i)
    names = [str(setting[0]) for setting in members_of]
    methods: list[Method] = []
    for (name, version, *details), members in members_of.items():
        for i, j in combinations(members, 2):
            if np.array_equal(columns[i], columns[j]) or _same_checkpoint(compared[i], compared[j]):
                raise InputError(
                    f"{compared[i].path} and {compared[j].path} are of one training of {name}, "
                    "not of two; give each training once."
                )
        words = [str(word) for word in (version, *details[:4]) if word not in (None, "true")]
        label = f"{name} ({', '.join(words)})" if names.count(str(name)) > 1 else str(name)
        entry = _compared_method(label, [compared[i].report for i in members])
        methods.append((entry, np.column_stack([columns[i] for i in members])))
    return methods


def _same_checkpoint(first: Compared, second: Compared) -> bool:
    digests = [
        (c.report.method.model_extra or {}).get("checkpoint_sha256") for c in (first, second)
    ]
    return digests[0] is not None and digests[0] == digests[1]


def _labels(compared: Sequence[Compared]) -> list[str]:
    """The methods' names, told apart by the folder, and where that is the same by a number."""
    names = [entry.report.method.name for entry in compared]
    labels = []
    for name, entry in zip(names, compared, strict=True):
        labels.append(f"{name} ({entry.path.resolve().name})" if names.count(name) > 1 else name)
    numbered = []
    for i, label in enumerate(labels):
        number = labels[: i + 1].count(label)
        numbered.append(f"{label} #{number}" if labels.count(label) > 1 else label)
    return numbered


def _compared_method(label: str, reports: Sequence[Report]) -> ComparedMethod:
    first = reports[0]
    missing = max(report.missing for report in reports)
    ranked = not first.partial and first.pairs == "true"
    return ComparedMethod(
        label,
        first.track,
        first.prompt_mode,
        first.pairs,
        missing,
        ranked,
        len(reports),
        first.exemplars,
        first.novelty.sentence if first.novelty else "not stated",
    )


@dataclass(frozen=True)
class _Estimate:
    """The mean of one group by one metric."""

    group: str
    metric: str
    higher_is_better: bool
    rows: Group
    table: Table
    parts: Sequence[Part]
    clusters: Clusters
    transformations: int

    def mean(self, column: np.ndarray) -> float:
        """The mean of a column of values."""
        return mean(self.rows, self.table["transformation"], column)


def _compare_group(estimate: _Estimate, methods: Sequence[Method], seed: int) -> GroupResult:
    parts, clusters = estimate.parts, estimate.clusters
    values = np.column_stack([runs.mean(axis=1) for _, runs in methods])
    between = []
    for _, runs in methods:
        between.append(between_trainings([estimate.mean(run) for run in runs.T]))
    bounds = [bounds_of(estimate.metric, values)] * len(methods)
    offsets = intervals([parts], values, clusters, seed, trainings=[between], bounds=bounds)[0]
    p = pairwise_p(values, parts, clusters, seed, trainings=between)
    labels = [method.label for method, _ in methods]
    points = [estimate.mean(column) for column in values.T]
    ends = [_ends(point, offset) for point, offset in zip(points, offsets, strict=True)]
    return GroupResult(
        estimate.group,
        dict(zip(labels, points, strict=True)),
        dict(zip(labels, ends, strict=True)),
        _ranks([method for method, _ in methods], p, np.array(points), estimate.higher_is_better),
        tuple(_differences(estimate, labels, values, between, p, seed)),
    )


def _ranks(
    methods: Sequence[ComparedMethod], p: np.ndarray, points: np.ndarray, higher: bool
) -> dict[str, tuple[int, int]]:
    """Ranks among the methods of one track and prompt mode that were shown as many exemplars."""
    members_of: dict[tuple[str, str, int], list[int]] = {}
    for i, method in enumerate(methods):
        if method.ranked:
            setting = (method.track, method.prompt_mode, method.exemplars)
            members_of.setdefault(setting, []).append(i)
    ranks: dict[str, tuple[int, int]] = {}
    for members in members_of.values():
        names = [methods[i].label for i in members]
        ranks |= ranks_from(names, p[np.ix_(members, members)], points[members], higher)
    return ranks


def _differences(
    estimate: _Estimate,
    labels: Sequence[str],
    values: np.ndarray,
    between: Sequence[tuple[Trainings, ...]],
    p: np.ndarray,
    seed: int,
) -> Iterator[Difference]:
    pairs = list(combinations(range(len(labels)), 2))
    if not pairs:
        return
    first, second = np.array(pairs).T
    columns = values[:, first] - values[:, second]
    extra = [between[i] + between[j] for i, j in pairs]
    parts, clusters = estimate.parts, estimate.clusters
    has_variance = estimable(parts, clusters)
    offsets = intervals([parts], columns, clusters, seed, trainings=[extra])[0]
    variance = spread(parts, columns, clusters).variance if has_variance else np.zeros(len(pairs))
    for n, (i, j) in enumerate(pairs):
        point = estimate.mean(columns[:, n])
        low, high = _ends(point, offsets[n])
        between_them = sum(source.variance for source in extra[n])
        needed = transformations_needed(
            point, float(variance[n]), between_them, estimate.transformations
        )
        yield Difference(
            estimate.group,
            labels[i],
            labels[j],
            point,
            low,
            high,
            float(p[i, j]) if has_variance else None,
            estimate.transformations,
            needed if has_variance else None,
            estimate.higher_is_better,
            len(pairs),
        )


def _ends(point: float, offsets: np.ndarray) -> Ends:
    low, high = (None if math.isnan(offset) else float(point + offset) for offset in offsets)
    return low, high


def transformations_needed(
    point: float, variance: float, trainings: float, count: int
) -> float | None:
    """About how many transformations show a difference with a chance of 80 % at the 5 % level.

    It is the sample size of a test of a mean (Cohen 1988, section 2.4; Lachin 1981, equation 1).

    Args:
        point: The difference.
        variance: Its variance with `count` transformations, which falls as one over their number.
        trainings: The variance that does not fall.
        count: How many transformations there are.

    Returns:
        None where there is no difference; infinite where `trainings` alone is too large.

    Example:
        >>> transformations_needed(0.5, 0.1, 0.0, 10)
        32.0
    """
    from scipy import stats

    if abs(point) < 1e-12 or variance + trainings == 0.0:
        return None
    reach = float(stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)) ** 2
    remainder = point**2 - reach * trainings
    return math.inf if remainder <= 0 else float(math.ceil(count * reach * variance / remainder))
