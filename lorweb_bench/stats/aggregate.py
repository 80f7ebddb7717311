"""From one value per item to the numbers of a report: means over tiers, intervals, and the gap."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.protocol import BOOTSTRAP_SEED, NEW_TO_BASE, PSNR_CAP, TIERS
from lorweb_bench.stats.bootstrap import (
    RESAMPLES,
    Bounds,
    Trainings,
    between_trainings,
    intervals,
)
from lorweb_bench.stats.clusters import Clusters, Part

Table = Mapping[str, np.ndarray]
Group = list[np.ndarray]  # one array of row indices per tier
Numbers = dict[str, Any]

COLUMNS = (
    "key",
    "split",
    "transformation",
    "family",
    "kind",
    "tier",
    "a_source",
    "b_source",
    "hard",
)
BOUNDS: dict[str, Bounds] = {  # the least and the greatest value of a metric, whatever its backbone
    "edit_recovery": (-1.0, 1.0),
    "retrieval": (0.0, 1.0),
    "ssim": (-1.0, 1.0),
    "psnr": (0.0, PSNR_CAP),
    "mse": (0.0, 1.0),
    "l1": (0.0, 1.0),
    "lpips_to_b": (0.0, 1.0),
    "lpips_to_b_prime": (0.0, 1.0),
    "clip_direction": (-1.0, 1.0),
    "clip_image": (-1.0, 1.0),
    "dino_direction": (-1.0, 1.0),
    "dino_image": (-1.0, 1.0),
    "judge_accuracy": (1.0, 10.0),
    "judge_consistency": (1.0, 10.0),
    "judge_preferred": (0.0, 1.0),
}


def bounds_of(metric: str, values: np.ndarray) -> Bounds | None:
    """The least and the greatest value that a metric can have, or None where they are not known.

    A metric of one's own that is only ever 0 or 1 is a proportion. Where a value lies beyond the
    bounds that its name stands for, it is another metric of that name, and they are not known.
    """
    bounds = BOUNDS.get(metric.partition("[")[0])
    if bounds is not None:
        return bounds if bounds[0] <= values.min() and values.max() <= bounds[1] else None
    return (0.0, 1.0) if np.isin(values, (0.0, 1.0)).all() else None


def ordered(table: Table, metrics: Sequence[str]) -> dict[str, np.ndarray]:
    """Check a table of per-item values, and sort its rows by key.

    Args:
        table: The columns of `COLUMNS`, and one per metric.
        metrics: Which metrics; their columns become float64.

    Returns:
        These columns.

    Raises:
        InputError: A column is missing or of another length, there are no rows, a key is there
            twice, a tier is unknown, or a value is not finite.
    """
    if missing := [name for name in (*COLUMNS, *metrics) if name not in table]:
        raise InputError(f"The table of per-item values has no column {missing[0]!r}.")
    columns = {name: np.asarray(table[name]) for name in (*COLUMNS, *metrics)}
    if len({len(column) for column in columns.values()}) != 1 or not len(columns["key"]):
        raise InputError(
            "The columns of the table of per-item values are empty or of different lengths."
        )
    by_key = np.argsort(columns["key"].astype(str), kind="stable")
    columns = {name: column[by_key] for name, column in columns.items()}
    keys = [str(key) for key in columns["key"]]
    if twice := [key for key, after in pairwise(keys) if key == after]:
        raise InputError(f"The table of per-item values holds the key {twice[0]!r} twice.")
    if unknown := {str(tier) for tier in columns["tier"]} - set(TIERS):
        raise InputError(
            f"The table of per-item values has the tier {min(unknown)!r}; "
            f"tiers are {', '.join(TIERS)}."
        )
    for metric in metrics:
        columns[metric] = columns[metric].astype(np.float64)
        if len(bad := np.flatnonzero(~np.isfinite(columns[metric]))):
            raise InputError(
                f"{metric} of item {keys[bad[0]]!r} is {columns[metric][bad[0]]}; "
                "only finite values are averaged."
            )
    return columns


def clusters_of(table: Table) -> Clusters:
    """The families and the photographs behind a and b that the items of a table share.

    Where an item has no family, its transformation stands for it.
    """
    pairs = zip(table["family"], table["transformation"], strict=True)
    labels = [str(family) or str(transformation) for family, transformation in pairs]
    b_sources = [str(source) for source in table["b_source"]]
    a_sources = [str(source) for source in table["a_source"]]
    return Clusters(labels, b_sources, a_sources)


def groups(table: Table) -> dict[str, Group]:
    """The groups of a report that have items.

    They are `seen`, `unseen`, each tier, each kind among the unseen as `unseen/<kind>`, and each of
    these restricted to hard items as `<group>_hard`. The tier `new_to_base` lies in the split
    `unseen` and is in none of the groups of that name.
    """
    tier, split, kind = (table[name].astype(str) for name in ("tier", "split", "kind"))
    hard = table["hard"].astype(bool)
    unseen = (split == "unseen") & (tier != NEW_TO_BASE)
    masks = {"seen": split == "seen", "unseen": unseen}
    masks |= {name: tier == name for name in TIERS}
    for name in sorted(set(kind[unseen])):
        masks[f"unseen/{name}"] = unseen & (kind == name)
    masks |= {f"{name}_hard": mask & hard for name, mask in list(masks.items())}
    present: dict[str, Group] = {}
    for name, mask in masks.items():
        by_tier = [np.flatnonzero(mask & (tier == t)) for t in TIERS]
        if mask.any():
            present[name] = [rows for rows in by_tier if len(rows)]
    return present


def _by_transformation(rows: np.ndarray, transformation: np.ndarray) -> list[np.ndarray]:
    names, code = np.unique(transformation[rows].astype(str), return_inverse=True)
    return [rows[code == i] for i in range(len(names))]


def tier_part(rows: np.ndarray, transformation: np.ndarray, share: float = 1.0) -> Part:
    """One tier as a weighted mean of its items in which every transformation counts the same."""
    _, code, size = np.unique(
        transformation[rows].astype(str), return_inverse=True, return_counts=True
    )
    return Part(rows, 1.0 / (len(size) * size[code]), share)


def parts_of(group: Group, transformation: np.ndarray) -> list[Part]:
    """A group as weighted means of items: tiers count the same, and in them transformations."""
    return [tier_part(rows, transformation, 1.0 / len(group)) for rows in group]


def mean(group: Group, transformation: np.ndarray, values: np.ndarray) -> float:
    """The mean of a group: per transformation, over those of a tier, over its tiers.

    Sums are exactly rounded, so that the order of the items changes nothing.
    """
    of_tiers = []
    for rows in group:
        means = []
        for members in _by_transformation(rows, transformation):
            means.append(math.fsum(values[members]) / len(members))
        of_tiers.append(math.fsum(means) / len(means))
    return math.fsum(of_tiers) / len(of_tiers)


def _within(
    point: float, offsets: np.ndarray, least: float = -math.inf, greatest: float = math.inf
) -> dict[str, float | None]:
    """The interval around a point, kept between the least and the greatest value it can have."""
    if np.isnan(offsets).any():
        return {"ci_low": None, "ci_high": None}
    low, high = (min(max(point + float(offset), least), greatest) for offset in offsets)
    return {"ci_low": low, "ci_high": high}


def _range(metric: str, column: np.ndarray, rows: np.ndarray) -> Bounds:
    """Within what an interval is kept: the metric's bounds, or the values of the group's items."""
    bounds = bounds_of(metric, column)
    return bounds or (float(column[rows].min()), float(column[rows].max()))


def summarise(
    table: Table,
    metrics: Sequence[str],
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    trainings: Sequence[Table] = (),
) -> dict[str, dict[str, Numbers]]:
    """The means of every group and metric, with their 95 % intervals.

    Every group is aggregated alike, restricted kinds and hard items too: mean per transformation,
    over the transformations of a tier, over the tiers present.

    Args:
        table: One row per item of the suite: the columns of `COLUMNS`, and one per metric.
        metrics: The identities of the metrics.
        seed: Of the bootstrap.
        resamples: Its draws.
        trainings: The tables of several trainings, where `table` holds the means over these: what
            differs between them widens the intervals.

    Returns:
        Per group, per metric: `mean`, `ci_low`, `ci_high`, `transformations`, `samples`. The ends
        are None with fewer than 8 families or 8 sources of b.

    Raises:
        InputError: A table is not whole, or a value is not finite.
    """
    table, runs = ordered(table, metrics), [ordered(run, metrics) for run in trainings]
    present, transformation = groups(table), table["transformation"]
    if not metrics:
        return {name: {} for name in present}
    columns = [table[metric] for metric in metrics]
    extra = [_between(group, transformation, runs, metrics) for group in present.values()]
    bounds = [bounds_of(metric, column) for metric, column in zip(metrics, columns, strict=True)]
    estimates = [parts_of(group, transformation) for group in present.values()]
    clusters, values = clusters_of(table), np.column_stack(columns)
    offsets = intervals(estimates, values, clusters, seed, resamples, extra, bounds)
    summary: dict[str, dict[str, Numbers]] = {}
    for group_offsets, (name, group) in zip(offsets, present.items(), strict=True):
        rows = np.concatenate(group)
        counts = {
            "transformations": sum(len(_by_transformation(r, transformation)) for r in group),
            "samples": len(rows),
        }
        summary[name] = {}
        for metric, column, metric_offsets in zip(metrics, columns, group_offsets, strict=True):
            point = mean(group, transformation, column)
            ends = _within(point, metric_offsets, *_range(metric, column, rows))
            summary[name][metric] = {"mean": point, **ends, **counts}
    return summary


def _between(
    group: Group,
    transformation: np.ndarray,
    runs: Sequence[Table],
    metrics: Sequence[str],
) -> list[tuple[Trainings, ...]]:
    """Per metric, what several trainings add to the variance of a group's mean."""
    variances = []
    for metric in metrics:
        variances.append(
            between_trainings([mean(group, transformation, run[metric]) for run in runs])
        )
    return variances


def gap_sides(table: Table) -> dict[str, tuple[Group, Group]]:
    """Per unseen tier, what is compared: the seen and the unseen group.

    For new parameters these are rows by family, over the families that both have; for compositions
    whole tiers.
    """
    tier, family = table["tier"].astype(str), table["family"].astype(str)
    rows = {name: np.flatnonzero(tier == name) for name in TIERS}
    seen, unseen = rows["seen_single"], rows["new_parameters"]
    common = sorted(set(family[seen]) & set(family[unseen]))
    sides: dict[str, tuple[Group, Group]] = {}
    if common:
        sides["new_parameters"] = (
            [seen[family[seen] == f] for f in common],
            [unseen[family[unseen] == f] for f in common],
        )
    if len(rows["seen_composition"]) and len(rows["new_composition"]):
        sides["new_composition"] = ([rows["seen_composition"]], [rows["new_composition"]])
    return sides


def difference(pair: tuple[Group, Group], transformation: np.ndarray) -> list[Part]:
    """The first group less the second, as two weighted means of items."""
    joined = []
    for group, share in zip(pair, (1.0, -1.0), strict=True):
        parts = parts_of(group, transformation)
        rows = np.concatenate([part.rows for part in parts])
        joined.append(Part(rows, np.concatenate([p.share * p.weights for p in parts]), share))
    return joined


def gap(
    table: Table,
    metrics: Sequence[str],
    track: str = "closed",
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    trainings: Sequence[Table] = (),
) -> dict[str, dict[str, Numbers]] | None:
    """What newness costs, like with like.

    `new_parameters` stands against `seen_single` over the families that both have, each family
    counting the same on both sides; `new_composition` against `seen_composition`, whole tiers.

    Args:
        table: As of `summarise`.
        metrics: The identities of the metrics.
        track: On `open` nobody knows what a method has seen, so there is no gap.
        seed: Of the bootstrap.
        resamples: Its draws.
        trainings: As of `summarise`.

    Returns:
        Per unseen tier and metric `seen`, `unseen`, `gap` (seen - unseen), `ci_low`, `ci_high`,
        `families`; without the tiers that have no items. None for the track `open`.
    """
    if track == "open":
        return None
    table, runs = ordered(table, metrics), [ordered(run, metrics) for run in trainings]
    sides, transformation, clusters = gap_sides(table), table["transformation"], clusters_of(table)
    if not metrics or not sides:
        return {name: {} for name in sides}
    estimates = [difference(pair, transformation) for pair in sides.values()]
    values = np.column_stack([table[metric] for metric in metrics])
    extra = []
    for seen, unseen in sides.values():
        of_pair = []
        for metric in metrics:
            of_seen = [mean(seen, transformation, run[metric]) for run in runs]
            of_unseen = [mean(unseen, transformation, run[metric]) for run in runs]
            of_pair.append(between_trainings(np.subtract(of_seen, of_unseen).tolist()))
        extra.append(of_pair)
    bounds = [bounds_of(metric, table[metric]) for metric in metrics]
    offsets = intervals(estimates, values, clusters, seed, resamples, extra, bounds)
    gaps: dict[str, dict[str, Numbers]] = {}
    for parts, gap_offsets, (name, pair) in zip(estimates, offsets, sides.items(), strict=True):
        families, _ = clusters.counts(np.concatenate([part.rows for part in parts]))
        gaps[name] = dict(_gaps(table, metrics, pair, gap_offsets, families))
    return gaps


def _gaps(
    table: Table,
    metrics: Sequence[str],
    pair: tuple[Group, Group],
    offsets: np.ndarray,
    families: int,
) -> Iterator[tuple[str, Numbers]]:
    """The gap of each metric between two groups."""
    for metric, metric_offsets in zip(metrics, offsets, strict=True):
        seen, unseen = (mean(group, table["transformation"], table[metric]) for group in pair)
        numbers = {"seen": seen, "unseen": unseen, "gap": seen - unseen}
        yield metric, {**numbers, **_within(seen - unseen, metric_offsets), "families": families}
