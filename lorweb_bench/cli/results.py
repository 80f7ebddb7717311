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
def results(folders: tuple[Path, ...], output: Path | None) -> None:
    """Stack the reports in FOLDERS into one table: a row for every report, group and metric.

    A folder may be a report, or hold reports at any depth.
    """
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
