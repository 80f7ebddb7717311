"""From one value per item to the numbers of a report: means over transformations and tiers, intervals, and the gap."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.protocol import BOOTSTRAP_SEED, SUITE_SPLITS, TIERS
from lorweb_bench.stats.bootstrap import RESAMPLES, Clusters, Part, between_trainings, intervals

Table = Mapping[str, np.ndarray]
Group = list[np.ndarray]  # one array of row indices per tier

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


def ordered(table: Table, metrics: Sequence[str]) -> dict[str, np.ndarray]:
    """The table's columns with its rows sorted by key, metrics as float64, checked.

    InputError for a missing column, columns of different lengths, no rows, a key that is there twice, an unknown tier, or
    a value that is not finite.
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
    if unknown := {str(t) for t in columns["tier"]} - set(TIERS):
        raise InputError(
            f"The table of per-item values has the tier {min(unknown)!r}; tiers are {', '.join(TIERS)}."
        )
    for metric in metrics:
        columns[metric] = columns[metric].astype(np.float64)
        if len(bad := np.flatnonzero(~np.isfinite(columns[metric]))):
            raise InputError(
                f"{metric} of item {keys[bad[0]]!r} is {columns[metric][bad[0]]}; only finite values are averaged."
            )
    return columns


def clusters_of(table: Table) -> Clusters:
    """The families and the sources of b that the items of a table share; where there is no family, its transformation."""
    labels = [
        str(f) or str(t) for f, t in zip(table["family"], table["transformation"], strict=True)
    ]
    return Clusters(labels, [str(s) for s in table["b_source"]])


def groups(table: Table) -> dict[str, Group]:
    """The groups of a report that have items: seen, unseen, each tier, `unseen/<kind>`, and each of these `_hard`."""
    tier, split, kind = (table[name].astype(str) for name in ("tier", "split", "kind"))
    hard = table["hard"].astype(bool)
    masks = {name: split == name for name in SUITE_SPLITS}
    masks |= {name: tier == name for name in TIERS}
    masks |= {
        f"unseen/{name}": (split == "unseen") & (kind == name)
        for name in sorted(set(kind[split == "unseen"]))
    }
    masks |= {f"{name}_hard": mask & hard for name, mask in list(masks.items())}
    found = {
        name: [np.flatnonzero(mask & (tier == t)) for t in TIERS] for name, mask in masks.items()
    }
    return {
        name: [rows for rows in tiers if len(rows)]
        for name, tiers in found.items()
        if any(len(rows) for rows in tiers)
    }


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
    """A group as weighted means of items: every tier counts the same, and in it every transformation."""
    return [tier_part(rows, transformation, 1.0 / len(group)) for rows in group]


def mean(group: Group, transformation: np.ndarray, values: np.ndarray) -> float:
    """The mean of a group: per transformation, then over the transformations of a tier, then over its tiers.

    Sums are exactly rounded, so that the order of the items changes nothing.
    """
    of_tier = []
    for rows in group:
        means = [
            math.fsum(values[own]) / len(own) for own in _by_transformation(rows, transformation)
        ]
        of_tier.append(math.fsum(means) / len(means))
    return math.fsum(of_tier) / len(of_tier)


def _bounds(
    point: float, offsets: np.ndarray, least: float = -math.inf, greatest: float = math.inf
) -> dict[str, float | None]:
    """The interval around a point, kept between the least and the greatest value that any item has."""
    low, high = (
        None if math.isnan(offset) else min(max(point + float(offset), least), greatest)
        for offset in offsets
    )
    return {"ci_low": low, "ci_high": high}


def summarise(
    table: Table,
    metrics: Sequence[str],
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    trainings: Sequence[Table] = (),
) -> dict[str, dict[str, dict[str, Any]]]:
    """Per group, per metric: `mean`, `ci_low`, `ci_high` (95 %), `transformations`, `samples`.

    `table` has one row per item of the suite and the columns key, split, transformation, family, kind, tier, a_source,
    b_source, hard, and one per metric. Every group is aggregated alike, restricted kinds and hard items too: mean per
    transformation, over the transformations of a tier, over the tiers present. The interval is None with fewer than 8
    families or 8 sources of b. Where `table` holds the means over several trainings, `trainings` are their own tables: what
    differs between them widens the intervals. InputError for a table that is not whole or a value that is not finite.
    """
    table, runs = ordered(table, metrics), [ordered(own, metrics) for own in trainings]
    found = groups(table)
    if not metrics:
        return {name: {} for name in found}
    transformation = table["transformation"]
    values = np.column_stack([table[metric] for metric in metrics])
    extra = [
        [between_trainings([mean(group, transformation, run[m]) for run in runs]) for m in metrics]
        for group in found.values()
    ]
    estimates = [parts_of(group, transformation) for group in found.values()]
    offsets = intervals(estimates, values, clusters_of(table), seed, resamples, extra)
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for g, (name, group) in enumerate(found.items()):
        counts = {
            "transformations": sum(len(_by_transformation(rows, transformation)) for rows in group),
            "samples": sum(len(rows) for rows in group),
        }
        summary[name] = {}
        for m, metric in enumerate(metrics):
            point, own = (
                mean(group, transformation, table[metric]),
                table[metric][np.concatenate(group)],
            )
            summary[name][metric] = {
                "mean": point,
                **_bounds(point, offsets[g, m], float(own.min()), float(own.max())),
                **counts,
            }
    return summary


def compared(table: Table) -> dict[str, tuple[Group, Group]]:
    """Per unseen tier what is compared, seen and unseen: rows by family for new parameters, whole tiers for compositions."""
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
        joined.append(
            Part(
                np.concatenate([p.rows for p in parts]),
                np.concatenate([p.share * p.weights for p in parts]),
                share,
            )
        )
    return joined


def gap(
    table: Table,
    metrics: Sequence[str],
    track: str = "closed",
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    trainings: Sequence[Table] = (),
) -> dict[str, dict[str, dict[str, Any]]] | None:
    """What newness costs, like with like: per unseen tier and metric `seen`, `unseen`, `gap`, `ci_low`, `ci_high`, `families`.

    `gap` is seen - unseen. `new_parameters` stands against `seen_single` over the families that both have, each family
    counting the same on both sides; `new_composition` against `seen_composition`, whole tiers. None for the track `open`,
    where nobody knows what was seen. A comparison that the suite has no items for is left out. `trainings` as of `summarise`.
    """
    if track == "open":
        return None
    table, runs = ordered(table, metrics), [ordered(own, metrics) for own in trainings]
    sides, transformation, clusters = compared(table), table["transformation"], clusters_of(table)
    if not metrics or not sides:
        return {name: {} for name in sides}
    estimates = [difference(pair, transformation) for pair in sides.values()]
    values = np.column_stack([table[metric] for metric in metrics])
    extra = [
        [between_trainings([_gap(pair, transformation, run[m]) for run in runs]) for m in metrics]
        for pair in sides.values()
    ]
    offsets = intervals(estimates, values, clusters, seed, resamples, extra)
    gaps: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in sides}
    for i, (name, pair) in enumerate(sides.items()):
        families, _ = clusters.counts(np.concatenate([part.rows for part in estimates[i]]))
        for m, metric in enumerate(metrics):
            seen, unseen = (mean(group, transformation, table[metric]) for group in pair)
            known = {"seen": seen, "unseen": unseen, "gap": seen - unseen}
            gaps[name][metric] = {
                **known,
                **_bounds(seen - unseen, offsets[i, m]),
                "families": families,
            }
    return gaps


def _gap(pair: tuple[Group, Group], transformation: np.ndarray, values: np.ndarray) -> float:
    seen, unseen = (mean(group, transformation, values) for group in pair)
    return seen - unseen
