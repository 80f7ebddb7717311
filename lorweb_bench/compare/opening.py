"""Reports and judgements that are compared: opened, and paired item by item."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.judging.judgement import JUDGEMENT, open_judgement
from lorweb_bench.reports.report import PER_SAMPLE, Report, headline_of, open_report
from lorweb_bench.stats.aggregate import ordered

Table = dict[str, np.ndarray]


@dataclass(frozen=True)
class Compared:
    """A report, and where it was read from; `judged` where that is a judgement."""

    path: Path
    report: Report
    judged: bool = False


def open_compared(paths: Sequence[str | Path]) -> list[Compared]:
    """Open reports and judgements of one suite; a choice between two methods gives both of them.

    Raises:
        InputError: Fewer than two methods, a missing per-item table, other suites, or a choice
            beside anything else.
    """
    alone = len(paths) == 1
    compared: list[Compared] = []
    if not alone or _is_judgement(Path(paths[0])):
        for path in paths:
            compared += _open(Path(path), alone)
    if len(compared) < 2:
        raise InputError("A comparison needs two reports or more, or the judgement of a choice.")
    first = compared[0]
    for other in compared:
        ours, theirs = first.report.suite, other.report.suite
        if theirs.fingerprint != ours.fingerprint:
            raise InputError(
                f"{other.path} is of {theirs.name} {theirs.version} ({theirs.fingerprint[:12]}), "
                f"{first.path} of {ours.name} {ours.version} ({ours.fingerprint[:12]}); "
                "only reports of one suite can be compared."
            )
    return compared


def open_judged_or_scored(path: str | Path) -> list[Report]:
    """The report in a folder, or those of a judgement: one of a rating, two of a choice.

    Raises:
        InputError: There is none, or it has no per-item table.
    """
    return [compared.report for compared in _open(Path(path), alone=True)]


def _is_judgement(path: Path) -> bool:
    return path.name == JUDGEMENT if path.is_file() else (path / JUDGEMENT).is_file()


def _open(path: Path, alone: bool) -> list[Compared]:
    folder = path.parent if path.is_file() else path
    if _is_judgement(path):
        judgement = open_judgement(folder)
        if judgement.protocol == "choice" and not alone:
            raise InputError(
                f"{path} is a choice between two methods, which is a comparison already; "
                "give it alone."
            )
        return [Compared(path, report, judged=True) for report in judgement.reports()]
    report = open_report(path)
    if report.per_sample is None:
        raise InputError(
            f"{folder / PER_SAMPLE} is missing; a comparison pairs items, "
            "so score the predictions again."
        )
    return [Compared(path, report)]


def common_metrics(compared: Sequence[Compared]) -> list[str]:
    """The metrics that all have, in the order of the first."""
    shared = set.intersection(*(set(entry.report.metrics) for entry in compared))
    return [metric for metric in compared[0].report.metrics if metric in shared]


def common_metric(compared: Sequence[Compared]) -> str:
    """The metric that all have and that is looked at first; InputError where there is none."""
    common = common_metrics(compared)
    if not common:
        raise InputError(
            "The reports have no metric in common; score them with the same --metrics, "
            "or judge them with one model."
        )
    return headline_of(common) or common[0]


def paired_tables(compared: Sequence[Compared], metric: str) -> tuple[list[Table], int]:
    """The per-item tables, of the same items in the same order.

    Returns:
        The tables, and how many items are left out because not all judgements have them.

    Raises:
        InputError: One has no such metric, or had it computed otherwise, or is of other items.
    """
    _refuse_other_settings(compared, metric)
    tables = [ordered(_table(entry, metric), [metric]) for entry in compared]
    keys = [table["key"].astype(str) for table in tables]
    for entry, table_keys in zip(compared, keys, strict=True):
        if not entry.judged and list(table_keys) != list(keys[0]):
            raise InputError(
                f"{entry.path / PER_SAMPLE} has other items than {compared[0].path / PER_SAMPLE}; "
                "score both again."
            )
    shared = reduce(np.intersect1d, keys)
    if not len(shared):
        raise InputError(
            "There is no item that all of these judgements are about; "
            "judge the same part of the suite."
        )
    paired: list[Table] = []
    for table, table_keys in zip(tables, keys, strict=True):
        rows = np.isin(table_keys, shared)
        paired.append({name: column[rows] for name, column in table.items()})
    return paired, len(reduce(np.union1d, keys)) - len(shared)


def _table(compared: Compared, metric: str) -> Table:
    report = compared.report
    if metric not in report.metrics or metric not in (report.per_sample or {}):
        raise InputError(
            f"{compared.path} has no metric {metric!r}; it has {', '.join(report.metrics)}."
        )
    return report.per_sample or {}


def _refuse_other_settings(compared: Sequence[Compared], metric: str) -> None:
    """Refuse a metric that was computed with other weights, kernel or words; the device may
    differ.
    """
    first, first_path = compared[0].report.metric_settings.get(metric, {}), compared[0].path
    for other in compared:
        settings = other.report.metric_settings.get(metric, {})
        for name in {**first, **settings}:
            if name != "device" and first.get(name) != settings.get(name):
                raise InputError(
                    f"{metric} was computed in {other.path} with {name} {settings.get(name)}, "
                    f"in {first_path} with {first.get(name)}; "
                    "only values of one metric can be compared."
                )
