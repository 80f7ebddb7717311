"""The command `results`: reports stacked into one table."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lorweb_bench.reports.results import Results


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TABLE",
    help="Write the table to this .csv or .parquet; without it the headlines are printed.",
)
@click.option(
    "--by-task",
    is_flag=True,
    help="One mean over the tasks of all suites together, for each method and metric.",
)
@click.option(
    "--split",
    type=click.Choice(["unseen", "seen"]),
    default="unseen",
    show_default=True,
    help="With --by-task: whose items count.",
)
def results(folders: tuple[Path, ...], output: Path | None, by_task: bool, split: str) -> None:
    """Stack the reports in FOLDERS into one table: a row for every report, group and metric.

    A folder may be a report, or hold reports at any depth. With --by-task a folder may be a
    judgement too, and the items of each task are averaged first, then the tasks of all suites.
    """
    if by_task:
        _pool(folders, output, split)
        return
    from lorweb_bench.reports.results import check_table_name, write_results
    from lorweb_bench.reports.results import results as stack

    if output is not None:
        check_table_name(output)
    table = stack(*folders)
    reports = len(set(table["report"]))
    if output is None:
        _show_headlines(table)
    else:
        write_results(output, table)
        click.echo(f"{output}: {len(table['report']):,} rows of {reports:,} reports.")


def _pool(folders: tuple[Path, ...], output: Path | None, split: str) -> None:
    """Print one mean per method and metric over the tasks of several suites, or write them."""
    from rich.console import Console
    from rich.table import Table

    from lorweb_bench.compare.pooled import pool_tasks, write_pooled
    from lorweb_bench.reports.report import plain
    from lorweb_bench.reports.results import check_table_name

    if output is not None:
        check_table_name(output)
    rows = pool_tasks(folders, split)
    if output is not None:
        write_pooled(output, rows)
        click.echo(f"{output}: {len(rows):,} rows.")
        return
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("method", "prompt", "metric", "mean", "95 %", "tasks", "triplets", "suites"):
        shown.add_column(name, overflow="fold")
    for row in rows:
        interval = "-"
        if row.ci_low is not None and row.ci_high is not None:
            interval = f"{plain(row.ci_low, 3)} to {plain(row.ci_high, 3)}"
        counts = (str(row.tasks), str(row.triplets), ", ".join(row.suites))
        shown.add_row(
            row.method, row.prompt_mode, row.metric, plain(row.mean, 3), interval, *counts
        )
    Console().print(shown, markup=False)


def _show_headlines(table: "Results") -> None:
    """Print the headline of every report, on unseen and seen, and beside them on new_to_base."""
    from rich.console import Console
    from rich.table import Table

    from lorweb_bench.protocol import NEW_TO_BASE, SUMMARY_GROUPS
    from lorweb_bench.reports.report import headline_of, plain

    headlines = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("suite", "method", "track", "prompt", "metric"):
        headlines.add_column(name, overflow="fold")
    columns = [name for name in SUMMARY_GROUPS if name != NEW_TO_BASE or name in table["group"]]
    for name in columns:
        headlines.add_column(name, justify="right", no_wrap=True)
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    for report in dict.fromkeys(table["report"]):
        of_report = [row for row in rows if row["report"] == report]
        headline = headline_of([row["metric"] for row in of_report])
        means = {row["group"]: row["mean"] for row in of_report if row["metric"] == headline}
        about = of_report[0]
        suite = f"{about['suite']} {about['suite_version']}"
        words = (suite, about["method"], about["track"], about["prompt_mode"], headline or "")
        numbers = (plain(means[name], 3) if name in means else "" for name in columns)
        headlines.add_row(*words, *numbers)
    Console().print(headlines, markup=False)
