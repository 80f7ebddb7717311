"""One mean per task over several suites: how the LoRWeB paper's evaluation counts its 100 tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from lorweb_bench.compare.opening import open_judged_or_scored
from lorweb_bench.errors import InputError
from lorweb_bench.judging.judgement import JUDGEMENT
from lorweb_bench.protocol import BOOTSTRAP_SEED, CONFIDENCE, MIN_CLUSTERS
from lorweb_bench.reports.report import REPORT, Report
from lorweb_bench.reports.results import write_results

RESAMPLES = 2000
SPLIT = "unseen"


@dataclass(frozen=True)
class PooledMean:
    """The mean of a metric over the tasks of several suites.

    Attributes:
        method: name and version.
        prompt_mode: what the method was told.
        metric: identity.
        mean: over tasks, of each task's own mean.
        ci_low, ci_high: a 95 % bootstrap interval over tasks; None with fewer than 8.
        tasks, triplets: how many it rests on.
        suites: the names of the suites, in order.
    """

    method: str
    prompt_mode: str
    metric: str
    mean: float
    ci_low: float | None
    ci_high: float | None
    tasks: int
    triplets: int
    suites: tuple[str, ...]


def pool_tasks(
    folders: Sequence[str | Path], split: str = SPLIT, seed: int = BOOTSTRAP_SEED
) -> list[PooledMean]:
    """Average the items of each task, then the tasks of all suites, per method and metric.

    Args:
        folders: Reports and judgements, and folders that hold such at any depth.
        split: Whose items count.
        seed: Of the bootstrap.

    Raises:
        InputError: There is no report, one has no per-item table or no item of the split, two are
            of one suite, method and metric, or a metric is not there for every suite of a method.
    """
    tasks: dict[tuple[str, str, str], dict[str, dict[str, np.ndarray]]] = {}
    places: dict[tuple[str, str, str, str], Path] = {}
    for path in _found(folders):
        for report in open_judged_or_scored(path):
            suite = f"{report.suite.name} {report.suite.version}"
            for metric, values in _by_task(path, report, split).items():
                method = f"{report.method.name} {report.method.version}"
                group = (method, report.prompt_mode, metric)
                if (earlier := places.get((*group, suite))) is not None:
                    raise InputError(
                        f"{path} and {earlier} both have {metric} of {method} on {suite}; name one."
                    )
                places[*group, suite] = path
                tasks.setdefault(group, {})[suite] = values
    return [_mean(group, by_suite, seed) for group, by_suite in tasks.items()]


def _found(folders: Sequence[str | Path]) -> list[Path]:
    """The folders of reports and judgements at and below some folders, each once."""
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; name folders of reports, or around them.")
        files = sorted([*folder.rglob(REPORT), *folder.rglob(JUDGEMENT)])
        if not files:
            raise InputError(
                f"{folder} holds no report: there is no {REPORT} or {JUDGEMENT} at any depth in it."
            )
        for file in files:
            found.setdefault(file.parent.resolve(), file.parent)
    return list(found.values())


def _by_task(path: Path, report: Report, split: str) -> dict[str, dict[str, np.ndarray]]:
    """By metric and task, the values of the items of a split; NaN marks those that are left out."""
    table = report.per_sample
    if table is None:
        raise InputError(f"{path} has no per-item table; score the predictions again.")
    rows = np.flatnonzero(table["split"].astype(str) == split)
    if not len(rows):
        raise InputError(
            f"{path} has no item of the split {split}; name reports of suites that have one."
        )
    names = table["transformation"].astype(str)
    by_metric: dict[str, dict[str, np.ndarray]] = {}
    for metric in report.metrics:
        values = table[metric].astype(float)
        of_task = {name: values[rows[names[rows] == name]] for name in np.unique(names[rows])}
        whole = {name: x[np.isfinite(x)] for name, x in of_task.items()}
        by_metric[metric] = {name: x for name, x in whole.items() if len(x)}
    return by_metric


def _mean(
    group: tuple[str, str, str], by_suite: dict[str, dict[str, np.ndarray]], seed: int
) -> PooledMean:
    items = [values for of_suite in by_suite.values() for values in of_suite.values()]
    means = np.array([values.mean() for values in items])
    low = high = None
    if len(means) >= MIN_CLUSTERS:
        drawn = np.random.default_rng(seed).integers(len(means), size=(RESAMPLES, len(means)))
        tail = 50 * (1 - CONFIDENCE)
        low, high = map(float, np.percentile(means[drawn].mean(axis=1), [tail, 100 - tail]))
    count = sum(len(values) for values in items)
    return PooledMean(*group, float(means.mean()), low, high, len(means), count, tuple(by_suite))


def write_pooled(path: str | Path, rows: Sequence[PooledMean]) -> None:
    """Write the means as `.csv` or `.parquet`; InputError for another ending."""
    table = {}
    for field in fields(PooledMean):
        table[field.name] = [getattr(row, field.name) for row in rows]
    table["suites"] = [", ".join(row.suites) for row in rows]
    write_results(path, table)
