"""Reports side by side: paired by item, with intervals, corrected for how many pairs there are, in plain words."""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import combinations
from pathlib import Path

import numpy as np

from lorweb_bench.compare.compared import common_metric, open_compared, paired_tables
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import BOOTSTRAP_SEED, TIERS
from lorweb_bench.reports.report import Report
from lorweb_bench.stats.aggregate import clusters_of, groups, parts_of
from lorweb_bench.stats.bootstrap import (
    Clusters,
    Part,
    Trainings,
    between_trainings,
    intervals,
    spread,
)
from lorweb_bench.stats.significance import LEVEL, difference_p, holm, rank_ranges

GROUPS = ("unseen", "seen", *reversed(TIERS))
POWER = (
    0.8  # the chance to see a difference, with which the number of transformations needed is stated
)


@dataclass(frozen=True)
class Entry:
    """A method in a comparison: one report, or those of several trainings. `ranked` is False where it covers a part of the suite
    or was shown other pairs; `missing` is the most that any of its reports lacks."""

    label: str
    track: str
    prompt_mode: str
    pairs: str
    missing: int
    ranked: bool
    trainings: int = 1


Method = tuple[Entry, np.ndarray]  # with its values, items x trainings


@dataclass(frozen=True)
class Difference:
    """`first` less `second`, paired by item, in one group: None where there are too few clusters to say more than the mean.

    `p` is corrected over the pairs of methods of the group. `needed` is about how many transformations would show a difference
    of this size in four suites of five, if families and photographs grew with them; infinite where the trainings alone differ
    too much for any number of transformations to show it.
    """

    group: str
    first: str
    second: str
    mean: float
    ci_low: float | None
    ci_high: float | None
    p: float | None
    transformations: int
    needed: float | None
    higher_is_better: bool

    @property
    def verdict(self) -> str:
        """One clause in plain words."""
        if self.p is None:
            return "too few families or photographs to tell"
        if self.p <= LEVEL:
            return f"{self.first if (self.mean > 0) == self.higher_is_better else self.second} is better"
        if self.needed is None:
            return "no difference"
        if math.isinf(self.needed):
            return "within noise: trainings of one method differ by as much; it takes more of them, not more transformations"
        if self.needed <= self.transformations:
            return "within noise, though nearly enough to tell"
        return f"within noise; it takes about {_rounded(int(self.needed))} transformations, here are {self.transformations}"


def _rounded(count: int) -> str:
    if count > 100_000:
        return "more than 100,000"
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{math.ceil(count / step) * step:,}"


@dataclass(frozen=True)
class Comparison:
    """Reports, or judgements, of one suite by one metric. `means`, `intervals` (None, None where there are too few clusters) and
    `ranks` are by group, then by label; `left_out` items are not in all of the judgements; `str` is the whole as text."""

    suite: str
    metric: str
    entries: tuple[Entry, ...]
    differences: tuple[Difference, ...]
    means: dict[str, dict[str, float]]
    ranks: dict[str, dict[str, tuple[int, int]]]
    intervals: dict[str, dict[str, tuple[float | None, float | None]]]
    left_out: int = 0

    def __str__(self) -> str:
        from rich.console import Console

        from lorweb_bench.compare.tables import differences_table, ranks_table

        text = StringIO()
        console = Console(
            file=text,
            width=max(80, shutil.get_terminal_size((132, 0)).columns),
            no_color=True,
            highlight=False,
        )
        console.print(f"{self.metric} on {self.suite}, paired by item", markup=False)
        for table in (ranks_table(self), *([differences_table(self)] if self.differences else [])):
            console.print(table, markup=False)
        several = any(entry.trainings > 1 for entry in self.entries)
        console.print(
            f"Intervals are 95 %, over families and photographs{', and over trainings where there are several' if several else ''}; "
            "p by sign-flips, Holm-corrected over the pairs of methods in a group. "
            "Ranks are ranges, among methods of one track and prompt mode.",
            markup=False,
        )
        if several and (single := [entry.label for entry in self.entries if entry.trainings == 1]):
            console.print(
                f"Of {', '.join(single)} there is one report: how much another training would differ is not in its interval.",
                markup=False,
            )
        if self.left_out:
            console.print(
                f"{self.left_out:,} items are left out: not all of the judgements have a verdict on them.",
                markup=False,
            )
        return text.getvalue().rstrip()


def compare_reports(
    paths: Sequence[str | Path],
    metric: str | None = None,
    seed: int = BOOTSTRAP_SEED,
    trainings: bool = False,
) -> Comparison:
    """Compare reports (folders with `report.json` and `per_sample.parquet`) by one metric, in seen, unseen and every tier.

    So are the judgements of one judge's ratings, over the items that all have, and of one choice, whose methods stand against
    each other. `metric` None: `edit_recovery` where all have it, else the first that all have. Differences are paired by item.
    With `trainings`, reports of one method, track and prompt mode are its trainings from several seeds: one entry, whose values
    are the means over them and whose intervals hold the variation between them. InputError for fewer than two, another format
    version, a missing per-item table, other suites or items, a metric that not all have, or one training given twice.
    """
    compared = open_compared(paths)
    places, reports = [c.path for c in compared], [c.report for c in compared]
    first = reports[0]
    metric = metric or common_metric(compared)
    tables, left_out = paired_tables(compared, metric)
    columns = [table[metric] for table in tables]
    if trainings:
        methods = _by_method(places, reports, columns)
    else:
        labels = _labels(places, reports)
        methods = [
            (_entry(label, [r]), column[:, None])
            for label, r, column in zip(labels, reports, columns, strict=True)
        ]
    higher = next(iter(first.scores.values()))[metric].higher_is_better
    made = _compared(
        f"{first.suite.name} {first.suite.version}", metric, methods, tables[0], higher, seed
    )
    return replace(made, left_out=left_out)


def _by_method(
    paths: Sequence[str | Path], reports: Sequence[Report], columns: Sequence[np.ndarray]
) -> list[Method]:
    """One entry for each method, track and prompt mode, with its trainings' values, items x trainings."""
    groups_of: dict[tuple[object, ...], list[int]] = {}
    for i, r in enumerate(reports):
        setting = (r.method.name, r.method.version, r.track, r.prompt_mode, r.pairs, r.partial)
        groups_of.setdefault(setting, []).append(i)
    found: list[Method] = []
    names = [str(setting[0]) for setting in groups_of]
    for (name, version, *said), members in groups_of.items():
        for i, j in combinations(members, 2):
            digests = [
                (reports[k].method.model_extra or {}).get("checkpoint_sha256") for k in (i, j)
            ]
            if np.array_equal(columns[i], columns[j]) or (
                digests[0] is not None and digests[0] == digests[1]
            ):
                raise InputError(
                    f"{paths[i]} and {paths[j]} are of one training of {name}, not of two; give each training once."
                )
        told = [str(word) for word in (version, *said[:3]) if word not in (None, "true")]
        label = f"{name} ({', '.join(told)})" if names.count(str(name)) > 1 else str(name)
        found.append(
            (
                _entry(label, [reports[i] for i in members]),
                np.column_stack([columns[i] for i in members]),
            )
        )
    return found


def _labels(paths: Sequence[str | Path], reports: Sequence[Report]) -> list[str]:
    """The methods' names, with the folder where two reports are of one method, and a number where that is the same too."""
    names = [report.method.name for report in reports]
    labels = [
        f"{n} ({Path(path).resolve().name})" if names.count(n) > 1 else n
        for n, path in zip(names, paths, strict=True)
    ]
    return [
        f"{n} #{labels[: i + 1].count(n)}" if labels.count(n) > 1 else n
        for i, n in enumerate(labels)
    ]


def _entry(label: str, reports: Sequence[Report]) -> Entry:
    first = reports[0]
    ranked = not first.partial and first.pairs == "true"
    return Entry(
        label,
        first.track,
        first.prompt_mode,
        first.pairs,
        max(r.missing for r in reports),
        ranked,
        len(reports),
    )


def _compared(
    suite: str,
    metric: str,
    methods: Sequence[Method],
    table: dict[str, np.ndarray],
    higher: bool,
    seed: int,
) -> Comparison:
    clusters, found = clusters_of(table), groups(table)
    names = [name for name in GROUPS if name in found]
    estimates = [parts_of(found[name], table["transformation"]) for name in names]
    entries = [entry for entry, _ in methods]
    values = {entry.label: columns.mean(axis=1) for entry, columns in methods}
    spreads = [
        {
            entry.label: between_trainings([_point(parts, c) for c in columns.T])
            for entry, columns in methods
        }
        for parts in estimates
    ]
    pairs = list(combinations(values, 2))
    columns = np.column_stack([*values.values(), *(values[a] - values[b] for a, b in pairs)])
    extra = [[*of.values(), *(of[a] + of[b] for a, b in pairs)] for of in spreads]
    offsets = intervals(estimates, columns, clusters, seed, trainings=extra)
    means: dict[str, dict[str, float]] = {}
    between: dict[str, dict[str, tuple[float | None, float | None]]] = {}
    ranks: dict[str, dict[str, tuple[int, int]]] = {}
    differences: list[Difference] = []
    for g, (name, parts) in enumerate(zip(names, estimates, strict=True)):
        means[name] = {label: _point(parts, column) for label, column in values.items()}
        between[name] = {
            label: _ends(means[name][label], offsets[g, i]) for i, label in enumerate(values)
        }
        ranks[name] = {}
        for kind in sorted({(e.track, e.prompt_mode) for e in entries if e.ranked}):
            of_kind = {
                e.label: values[e.label]
                for e in entries
                if e.ranked and (e.track, e.prompt_mode) == kind
            }
            ranks[name] |= rank_ranges(of_kind, parts, clusters, higher, seed, spreads[g])
        if pairs:
            count = sum(len(set(table["transformation"][part.rows].astype(str))) for part in parts)
            made = Paired(
                name,
                pairs,
                columns[:, len(values) :],
                extra[g][len(values) :],
                offsets[g, len(values) :],
            )
            differences += _differences(made, parts, clusters, count, higher, seed)
    return Comparison(suite, metric, tuple(entries), tuple(differences), means, ranks, between)


def _ends(point: float, offsets: np.ndarray) -> tuple[float | None, float | None]:
    low, high = (None if math.isnan(offset) else float(point + offset) for offset in offsets)
    return low, high


@dataclass(frozen=True)
class Paired:
    """The pairs of methods in one group: differences items x pairs, what trainings add to their variance, offsets of the intervals."""

    group: str
    pairs: Sequence[tuple[str, str]]
    columns: np.ndarray
    trainings: Sequence[tuple[Trainings, ...]]
    offsets: np.ndarray


def _differences(
    made: Paired, parts: Sequence[Part], clusters: Clusters, count: int, higher: bool, seed: int
) -> Iterator[Difference]:
    adjusted = holm(difference_p(parts, made.columns, clusters, seed, made.trainings).tolist())
    for i, (a, b) in enumerate(made.pairs):
        point = _point(parts, made.columns[:, i])
        if math.isnan(adjusted[i]):
            yield Difference(made.group, a, b, point, None, None, None, count, None, higher)
            continue
        low, high = _ends(point, made.offsets[i])
        error = float(spread(parts, made.columns[:, [i]], clusters).variance[0])
        needed = transformations_needed(
            point, error, sum(t.variance for t in made.trainings[i]), count
        )
        yield Difference(made.group, a, b, point, low, high, adjusted[i], count, needed, higher)


def _point(parts: Sequence[Part], column: np.ndarray) -> float:
    return math.fsum(part.share * math.fsum(part.weights * column[part.rows]) for part in parts)


def transformations_needed(
    point: float, variance: float, trainings: float, count: int
) -> float | None:
    """About how many transformations show a difference like `point` with a chance of 80 % at the 5 % level; None where there is none.

    The sample size of a test of a mean (Cohen 1988, section 2.4; Lachin 1981, equation 1): `count` transformations gave the
    `variance`, which falls as one over their number; `trainings` is the variance that does not. Infinite where that alone is
    too large.
    """
    from scipy import stats

    if abs(point) < 1e-12 or variance + trainings == 0.0:
        return None
    reach = float(stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)) ** 2
    left = point**2 - reach * trainings
    return math.inf if left <= 0 else float(math.ceil(count * reach * variance / left))
