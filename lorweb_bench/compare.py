"""Reports side by side: paired by item, with intervals, corrected for how many pairs there are, in plain words."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import combinations
from pathlib import Path

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.intervals import Clusters, Part, intervals, spread
from lorweb_bench.protocol import BOOTSTRAP_SEED, TIERS
from lorweb_bench.report import PER_SAMPLE, Report, open_report
from lorweb_bench.significance import LEVEL, holm, rank_ranges, sign_flip
from lorweb_bench.statistics import clusters_of, groups, ordered, parts_of

HEADLINE = "edit_recovery"
GROUPS = ("unseen", "seen", *reversed(TIERS))
POWER = 0.8  # the chance to see a difference, with which the number of transformations needed is stated


@dataclass(frozen=True)
class Entry:
    """A report in a comparison. `ranked` is False where it covers a part of the suite or was shown other pairs."""

    label: str
    track: str
    prompt_mode: str
    pairs: str
    missing: int
    ranked: bool


@dataclass(frozen=True)
class Difference:
    """`first` less `second`, paired by item, in one group: None where there are too few clusters to say more than the mean.

    `p` is corrected over the pairs of methods of the group. `needed` is about how many transformations would show a difference
    of this size in four suites of five, if families and photographs grew with them.
    """

    group: str
    first: str
    second: str
    mean: float
    ci_low: float | None
    ci_high: float | None
    p: float | None
    transformations: int
    needed: int | None
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
        if self.needed <= self.transformations:
            return "within noise, though nearly enough to tell"
        return f"within noise; it takes about {_rounded(self.needed)} transformations, here are {self.transformations}"


@dataclass(frozen=True)
class Comparison:
    """Reports of one suite by one metric. `means` and `ranks` are by group, then by label; `str` is the whole as text."""

    suite: str
    metric: str
    entries: tuple[Entry, ...]
    differences: tuple[Difference, ...]
    means: dict[str, dict[str, float]]
    ranks: dict[str, dict[str, tuple[int, int]]]

    def __str__(self) -> str:
        from rich.console import Console

        text = StringIO()
        console = Console(file=text, width=max(80, shutil.get_terminal_size((132, 0)).columns), no_color=True, highlight=False)
        console.print(f"{self.metric} on {self.suite}, paired by item", markup=False)
        for table in (_ranks_table(self), _differences_table(self)):
            console.print(table, markup=False)
        console.print(
            "Intervals are 95 %, over families and photographs; p by sign-flips, Holm-corrected over the pairs of methods in a group. "
            "Ranks are ranges, among methods of one track and prompt mode.",
            markup=False,
        )
        return text.getvalue().rstrip()


def _rounded(count: int) -> str:
    if count > 100_000:
        return "more than 100,000"
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{math.ceil(count / step) * step:,}"


def _number(value: float) -> str:
    return f"{value:.3f}"


def _ranks_table(comparison: Comparison) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table("group", "method", "mean", "rank", "track", "prompt", "", title="Means and ranks", title_justify="left")
    for name, means in comparison.means.items():
        for i, entry in enumerate(comparison.entries):
            low, high = comparison.ranks[name].get(entry.label, (0, 0))
            rank = "not ranked" if not low else str(low) if low == high else f"{low} to {high}"
            said = [f"pairs {entry.pairs}"] * (entry.pairs != "true") + [f"{entry.missing:,} missing"] * bool(entry.missing)
            cells = ("" if i else name, entry.label, _number(means[entry.label]), rank, entry.track, entry.prompt_mode, ", ".join(said))
            table.add_row(*(Text(cell) for cell in cells), end_section=entry is comparison.entries[-1])
    return table


def _differences_table(comparison: Comparison) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table("group", "pair", "difference", "95 % interval", "p", "in words", title="Differences", title_justify="left")
    group = ""
    for d in comparison.differences:
        if group and d.group != group:
            table.add_section()
        interval = "-" if d.ci_low is None or d.ci_high is None else f"{_number(d.ci_low)} to {_number(d.ci_high)}"
        p = "-" if d.p is None else f"{d.p:.3f}" if d.p >= 0.001 else "<0.001"
        first_of_group = d.group != group
        group = d.group
        cells = (d.group if first_of_group else "", f"{d.first} - {d.second}", _number(d.mean), interval, p, d.verdict)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def compare_reports(paths: Sequence[str | Path], metric: str | None = None, seed: int = BOOTSTRAP_SEED) -> Comparison:
    """Compare reports (folders with `report.json` and `per_sample.parquet`) by one metric, in seen, unseen and every tier.

    `metric` None: `edit_recovery` where all reports have it, else the first that all have. Differences are paired by item.
    InputError for fewer than two reports, another format version, a missing per-item table, other suites or items, or a
    metric that not all have.
    """
    if len(paths) < 2:
        raise InputError("A comparison needs two reports or more.")
    reports = [_opened(Path(path)) for path in paths]
    first = reports[0]
    for path, report in zip(paths, reports, strict=True):
        if report.suite.fingerprint != first.suite.fingerprint:
            raise InputError(
                f"{path} is of {report.suite.name} {report.suite.version} ({report.suite.fingerprint[:12]}), {paths[0]} of "
                f"{first.suite.name} {first.suite.version} ({first.suite.fingerprint[:12]}); only reports of one suite can be compared."
            )
    metric = metric or _common_metric(reports)
    tables = [ordered(_table_of(path, report, metric), [metric]) for path, report in zip(paths, reports, strict=True)]
    for path, table in zip(paths, tables, strict=True):
        if list(table["key"]) != list(tables[0]["key"]):
            raise InputError(f"{Path(path) / PER_SAMPLE} has other items than {Path(paths[0]) / PER_SAMPLE}; score both again.")
    entries = tuple(_entry(label, report) for label, report in zip(_labels(paths, reports), reports, strict=True))
    values = {entry.label: table[metric] for entry, table in zip(entries, tables, strict=True)}
    higher = next(iter(first.scores.values()))[metric].higher_is_better
    return _compared(f"{first.suite.name} {first.suite.version}", metric, entries, tables[0], values, higher, seed)


def _opened(path: Path) -> Report:
    report = open_report(path)
    if report.per_sample is None:
        folder = path if path.is_dir() else path.parent
        raise InputError(f"{folder / PER_SAMPLE} is missing; a comparison pairs items, so score the predictions again.")
    return report


def _common_metric(reports: Sequence[Report]) -> str:
    common = [m for m in reports[0].metrics if all(m in report.metrics for report in reports)]
    if not common:
        raise InputError("The reports have no metric in common; score them with the same --metrics.")
    return HEADLINE if HEADLINE in common else common[0]


def _table_of(path: str | Path, report: Report, metric: str) -> dict[str, np.ndarray]:
    if metric not in report.metrics or metric not in (report.per_sample or {}):
        raise InputError(f"{path} has no metric {metric!r}; it has {', '.join(report.metrics)}.")
    return report.per_sample or {}


def _labels(paths: Sequence[str | Path], reports: Sequence[Report]) -> list[str]:
    """The methods' names, with the folder where two reports are of one method, and a number where that is the same too."""
    names = [report.method.name for report in reports]
    labels = [f"{n} ({Path(path).resolve().name})" if names.count(n) > 1 else n for n, path in zip(names, paths, strict=True)]
    return [f"{n} #{labels[: i + 1].count(n)}" if labels.count(n) > 1 else n for i, n in enumerate(labels)]


def _entry(label: str, report: Report) -> Entry:
    whole = not report.partial and report.pairs == "true"
    return Entry(label, report.track, report.prompt_mode, report.pairs, report.missing, whole)


def _compared(
    suite: str,
    metric: str,
    entries: tuple[Entry, ...],
    table: dict[str, np.ndarray],
    values: dict[str, np.ndarray],
    higher: bool,
    seed: int,
) -> Comparison:
    clusters, found = clusters_of(table), groups(table)
    names = [name for name in GROUPS if name in found]
    pairs = list(combinations(values, 2))
    columns = np.column_stack([values[a] - values[b] for a, b in pairs])
    estimates = [parts_of(found[name], table["transformation"]) for name in names]
    offsets = intervals(estimates, columns, clusters, seed)
    differences: list[Difference] = []
    means: dict[str, dict[str, float]] = {}
    ranks: dict[str, dict[str, tuple[int, int]]] = {}
    for g, (name, parts) in enumerate(zip(names, estimates, strict=True)):
        means[name] = {label: _point(parts, column) for label, column in values.items()}
        ranks[name] = {}
        for kind in sorted({(e.track, e.prompt_mode) for e in entries if e.ranked}):
            of_kind = {e.label: values[e.label] for e in entries if e.ranked and (e.track, e.prompt_mode) == kind}
            ranks[name] |= rank_ranges(of_kind, parts, clusters, higher, seed)
        adjusted = holm(sign_flip(parts, columns, clusters, seed).tolist())
        count = sum(len(set(table["transformation"][part.rows].astype(str))) for part in parts)
        for i, (a, b) in enumerate(pairs):
            point = _point(parts, columns[:, i])
            told = not math.isnan(adjusted[i])
            low, high = (float(point + offset) if told else None for offset in offsets[g, i])
            p = adjusted[i] if told else None
            needed = _needed(parts, columns[:, [i]], clusters, point, count) if told else None
            differences.append(Difference(name, a, b, point, low, high, p, count, needed, higher))
    return Comparison(suite, metric, entries, tuple(differences), means, ranks)


def _point(parts: Sequence[Part], column: np.ndarray) -> float:
    return math.fsum(part.share * math.fsum(part.weights * column[part.rows]) for part in parts)


def _needed(parts: Sequence[Part], column: np.ndarray, clusters: Clusters, point: float, count: int) -> int | None:
    """About how many transformations show a difference like this one; None where there is none."""
    from scipy import stats

    error = math.sqrt(float(spread(parts, column, clusters).variance[0]))
    if abs(point) < 1e-12 or error == 0.0:
        return None
    reach = float(stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER))
    return math.ceil(count * (reach * error / abs(point)) ** 2)
