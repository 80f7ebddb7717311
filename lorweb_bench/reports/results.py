"""Reports stacked into one table: a row for every report, group and metric."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.reports.report import REPORT, Report, open_report
from lorweb_bench.runtime.files import write_atomic
from lorweb_bench.runtime.parquet import write_columns

Results = dict[str, list[Any]]
COLUMNS = (
    *("report", "suite", "suite_version", "suite_fingerprint", "method", "method_version"),
    *("track", "prompt_mode", "pairs", "seed", "partial", "group", "metric", "mean"),
    *("ci_low", "ci_high", "transformations", "samples", "higher_is_better", "chance"),
    *("missing", "resized", "seconds_per_image", "peak_memory_bytes", "device"),
)
TABLES = (".csv", ".parquet")


def results(*folders: str | Path) -> Results:
    """Stack reports into one table, with a row for every report, group and metric.

    `pandas.DataFrame(results("reports"))` and `polars.DataFrame(results("reports"))` take it as it
    is.

    Args:
        folders: Folders of reports, and folders that hold such folders at any depth.

    Returns:
        The columns by name, all of one length: what the report is of (`suite`, `method`, `track`,
        `prompt_mode`, …), `group`, `metric`, `mean`, its 95 % interval (None with too few
        clusters), how much it rests on, `chance`, and what the predictions cost. Rows come in the
        order of the folders and, within one, of the reports' paths.

    Raises:
        InputError: There is no report in a folder, or one of them cannot be read.
    """
    table: Results = {name: [] for name in COLUMNS}
    for path in _reports_in(folders):
        for row in _rows(path, open_report(path)):
            for name in COLUMNS:
                table[name].append(row[name])
    return table


def write_results(path: Path | str, table: Results) -> None:
    """Write a table of results as `.csv` or `.parquet`; InputError for another ending."""
    path = Path(path)
    check_table_name(path)
    if path.suffix == ".parquet":
        write_columns(path, {name: np.array(column, object) for name, column in table.items()})
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    write_atomic(path, text.getvalue())


def check_table_name(path: Path) -> None:
    """InputError where a file's name does not end in that of a table."""
    if path.suffix not in TABLES:
        raise InputError(f"{path}: a table is written as {' or '.join(TABLES)}; name it so.")


def _reports_in(folders: tuple[str | Path, ...]) -> Iterator[Path]:
    """The folders of reports at and below some folders, each once."""
    listed: set[Path] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; name folders of reports, or around them.")
        paths = sorted(file.parent for file in folder.rglob(REPORT))
        if not paths:
            raise InputError(f"{folder} holds no report: there is no {REPORT} at any depth in it.")
        for path in paths:
            if path.resolve() not in listed:
                listed.add(path.resolve())
                yield path


def _rows(path: Path, report: Report) -> Iterator[dict[str, Any]]:
    about = {
        "report": str(path),
        "suite": report.suite.name,
        "suite_version": report.suite.version,
        "suite_fingerprint": report.suite.fingerprint,
        "method": report.method.name,
        "method_version": report.method.version,
        **report.model_dump(include={"track", "prompt_mode", "pairs", "seed", "partial"}),
        **report.model_dump(include={"missing", "resized"}),
        **report.cost.model_dump(exclude={"sampling_steps"}),
    }
    for group, scores in report.scores.items():
        for metric, score in scores.items():
            chance = report.chance.get(metric)
            yield {
                **about,
                "group": group,
                "metric": metric,
                "chance": chance,
                **score.model_dump(),
            }
