"""What is compared: reports, or judgements read as reports, of one suite, brought to the same items by one metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.judging.judgement import JUDGEMENT, open_judgement
from lorweb_bench.reports.report import PER_SAMPLE, Report, headline_of, open_report
from lorweb_bench.stats.aggregate import ordered


@dataclass(frozen=True)
class Compared:
    """A report, and the place that it was read from; `judged` where that is a judgement."""

    path: Path
    report: Report
    judged: bool = False


def open_compared(paths: Sequence[str | Path]) -> list[Compared]:
    """Open reports and judgements; a choice between two methods gives both of them.

    InputError for fewer than two methods, a missing per-item table, other suites, or a choice beside anything else.
    """
    alone = len(paths) == 1
    found = (
        [opened for path in paths for opened in _open(Path(path), alone)]
        if not alone or _is_judgement(Path(paths[0]))
        else []
    )
    if len(found) < 2:
        raise InputError("A comparison needs two reports or more, or the judgement of a choice.")
    first = found[0]
    for other in found:
        ours, theirs = first.report.suite, other.report.suite
        if theirs.fingerprint != ours.fingerprint:
            raise InputError(
                f"{other.path} is of {theirs.name} {theirs.version} ({theirs.fingerprint[:12]}), {first.path} of "
                f"{ours.name} {ours.version} ({ours.fingerprint[:12]}); only reports of one suite can be compared."
            )
    return found


def _is_judgement(path: Path) -> bool:
    return path.name == JUDGEMENT if path.is_file() else (path / JUDGEMENT).is_file()


def _open(path: Path, alone: bool) -> list[Compared]:
    folder = path.parent if path.is_file() else path
    if _is_judgement(path):
        judgement = open_judgement(folder)
        if judgement.protocol == "choice" and not alone:
            raise InputError(
                f"{path} is a choice between two methods, which is a comparison already; give it alone."
            )
        return [Compared(path, report, judged=True) for report in judgement.reports()]
    report = open_report(path)
    if report.per_sample is None:
        raise InputError(
            f"{folder / PER_SAMPLE} is missing; a comparison pairs items, so score the predictions again."
        )
    return [Compared(path, report)]


def common_metric(compared: Sequence[Compared]) -> str:
    """The metric that all have and that is looked at first; InputError where they have none in common."""
    common = [
        metric
        for metric in compared[0].report.metrics
        if all(metric in c.report.metrics for c in compared)
    ]
    if not common:
        raise InputError(
            "The reports have no metric in common; score them with the same --metrics, or judge them with one model."
        )
    return headline_of(common) or common[0]


def paired_tables(
    compared: Sequence[Compared], metric: str
) -> tuple[list[dict[str, np.ndarray]], int]:
    """The per-item tables, of the same items in the same order, and how many items are left out because not all judgements have them.

    InputError where one has no such metric, or had it computed otherwise, and where reports are of other items.
    """
    _refuse_other_settings(compared, metric)
    tables = [ordered(_table(c, metric), [metric]) for c in compared]
    keys = [table["key"].astype(str) for table in tables]
    for c, own in zip(compared, keys, strict=True):
        if not c.judged and list(own) != list(keys[0]):
            raise InputError(
                f"{c.path / PER_SAMPLE} has other items than {compared[0].path / PER_SAMPLE}; score both again."
            )
    shared = reduce(np.intersect1d, keys)
    if not len(shared):
        raise InputError(
            "There is no item that all of these judgements are about; judge the same part of the suite."
        )
    left_out = len(reduce(np.union1d, keys)) - len(shared)
    rows = [np.isin(own, shared) for own in keys]
    return [
        {name: column[kept] for name, column in table.items()}
        for table, kept in zip(tables, rows, strict=True)
    ], left_out


def _table(compared: Compared, metric: str) -> dict[str, np.ndarray]:
    report = compared.report
    if metric not in report.metrics or metric not in (report.per_sample or {}):
        raise InputError(
            f"{compared.path} has no metric {metric!r}; it has {', '.join(report.metrics)}."
        )
    return report.per_sample or {}


def _refuse_other_settings(compared: Sequence[Compared], metric: str) -> None:
    """InputError where a metric of one identity was computed with other weights, kernel or words; the device may differ."""
    found = [
        {k: v for k, v in c.report.metric_settings.get(metric, {}).items() if k != "device"}
        for c in compared
    ]
    for c, settings in zip(compared, found, strict=True):
        for name in {**found[0], **settings}:
            if found[0].get(name) != settings.get(name):
                raise InputError(
                    f"{metric} was computed in {c.path} with {name} {settings.get(name)}, in {compared[0].path} with {found[0].get(name)}; "
                    "only values of one metric can be compared."
                )
