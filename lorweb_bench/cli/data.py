"""`inspect`, `verify`, `publish`, `leaks`: the commands on datasets."""

from pathlib import Path

import click

from lorweb_bench.cli.options import format_option
from lorweb_bench.errors import InputError


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw a contact sheet to this PNG.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page to browse quadruplets in.",
)
@click.option(
    "--per-tier",
    type=click.IntRange(1),
    help="Quadruplets of each tier on the sheet (8) and the page (40).",
)
@click.option(
    "--sources",
    is_flag=True,
    help="Name the photographs behind each row of the sheet; the page has them under `labels`.",
)
def inspect(
    dataset: Path, output: Path | None, html: Path | None, per_tier: int | None, sources: bool
) -> None:
    """Show what DATASET holds: counts by split, tier and family, a contact sheet, a page."""
    from lorweb_bench.cli import terminal_tables
    from lorweb_bench.data.dataset import open_dataset
    from lorweb_bench.suites import overview as looking

    _check_png(output)
    if sources and output is None:
        raise InputError("--sources is for a contact sheet; add -o SHEET.png.")
    opened = open_dataset(dataset)
    terminal_tables.show_counts(
        opened, {split: looking.count(opened.records(split)) for split in opened.splits}
    )
    if output is not None:
        looking.write_sheet(opened, output, per_tier or 8, sources)
        click.echo(f"Contact sheet: {output}")
    if html is not None:
        looking.write_page(opened, html, per_tier or 40)
        click.echo(f"Page: {html}")


def _check_png(output: Path | None) -> None:
    if output is not None and output.suffix.lower() != ".png":
        raise InputError(f"{output}: a contact sheet is a PNG; give a name that ends in .png.")


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes to check shards in.",
)
@click.option(
    "--rerun/--no-rerun",
    default=None,
    help="Run the transformations again and compare; by default for lossless suites.",
)
def verify(dataset: Path, workers: int, rerun: bool | None) -> None:
    """Check every byte of DATASET against its manifest, and decode every image."""
    from lorweb_bench.data.dataset import open_dataset
    from lorweb_bench.suites import verify as verifying
    from lorweb_bench.suites.pins import drift

    checked = verifying.verify(dataset, workers, rerun)
    for problem in checked.problems:
        click.echo(problem)
    if checked.problems:
        count = len(checked.problems)
        more = f" ({count} problems, listed above)" if count > 1 else ""
        raise InputError(checked.problems[0] + more)
    click.echo(
        f"{dataset} is whole: {len(checked.items):,} samples, {checked.bytes:,} bytes, "
        "every image decoded, fingerprints as stated."
    )
    if differs := drift(open_dataset(dataset)):
        click.echo(f"{differs}.")
    if checked.unpinned:
        click.echo(
            f"An unpinned build: {checked.unpinned:,} of {checked.rerun:,} images are within "
            "2 levels of what is made here, not equal."
        )
    elif checked.rerun:
        click.echo(f"{checked.rerun:,} images made again by their transformations: all equal.")
    else:
        click.echo(f"No transformation was run again: {checked.not_rerun}.")
    if checked.base:
        click.echo(checked.base)


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder of the public view.",
)
@click.option(
    "--prompt",
    default="none",
    show_default=True,
    type=click.Choice(["none", "instruction"]),
    help="What to give as each sample's prompt.",
)
@format_option
def publish(suite: Path, output: Path, prompt: str, format_: str) -> None:
    """Write the public view of SUITE: no answers, no labels, an order that says nothing."""
    from lorweb_bench.data.parquet_view import write_view
    from lorweb_bench.suites.publish import publish as write

    public = write(suite, output, prompt)
    if format_ == "parquet":
        write_view(public)
    click.echo(
        f"{output}: {public.split('test').samples:,} samples, fingerprint {public.fingerprint}."
    )


@click.command()
@click.argument("train", type=click.Path(path_type=Path))
@click.argument("suite", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the pairs of like images to this PNG.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes to read shards in.",
)
def leaks(train: Path, suite: Path, output: Path | None, workers: int) -> None:
    """Find what the dataset TRAIN shares with SUITE, or with any other dataset.

    That is transformations, photographs, and images that look alike.
    """
    from lorweb_bench.cli import terminal_tables
    from lorweb_bench.suites import leaks as finding

    _check_png(output)
    shared = finding.find_leaks(train, suite, workers)
    terminal_tables.show_leaks(shared)
    if output is not None and shared.images:
        finding.write_sheet(shared, train, suite, output)
        click.echo(f"Pairs of images: {output}")
    if shared.leaks:
        raise InputError(f"{suite} leaks: {'; '.join(shared.leaks)}.")
    click.echo("No leak found.")
