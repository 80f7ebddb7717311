"""The commands of `lorweb-bench datagen`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorweb_bench.cli.options import format_option, part

if TYPE_CHECKING:
    from datagen.transformations import Library

GALLERY_PIXELS = 96
NARROW = 150  # columns that the table of transformations gets where no terminal says how wide it is


@click.group()
def datagen() -> None:
    """Build datasets and suites from recipes; show the transformation library."""


@datagen.command()
@click.argument("recipe")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The dataset's folder."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe, e.g. source.path=photos.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Processes; the result does not depend on it.",
)
@click.option(
    "--engine",
    default="local",
    show_default=True,
    type=click.Choice(["local", "ray"]),
    help="Where the processes run.",
)
@click.option(
    "--shard",
    callback=part,
    metavar="I/N",
    help="Make only every N-th shard, from the I-th on; N jobs may share the folder.",
)
@format_option
def build(
    recipe: str,
    output: Path,
    settings: tuple[str, ...],
    workers: int,
    engine: str,
    shard: tuple[int, int] | None,
    format_: str,
) -> None:
    """Build the dataset that RECIPE asks for: a YAML file, or a ready one such as photos-mini.

    Started again, it goes on where it was stopped. Of several runs with --shard the last to end
    writes the manifest; so does a run without it.
    """
    from datagen.build import build as build_dataset
    from datagen.build import report
    from datagen.recipe.reading import read_recipe
    from lorweb_bench.data.parquet_view import write_view

    built = build_dataset(
        read_recipe(recipe, settings, output), output, workers, engine, shard or (1, 1)
    )
    if built is None:
        click.echo(
            f"This part is in {output}; the run that completes the folder writes its manifest."
        )
        return
    report(built)
    dataset = built.dataset
    if format_ == "parquet":
        write_view(dataset)
    counts = [f"{info.samples:,} {split}" for split, info in dataset.manifest.splits.items()]
    click.echo(
        f"{output}: {dataset.name} {dataset.version}, {', '.join(counts)}, "
        f"fingerprint {dataset.fingerprint}"
    )


@datagen.command("world-photographs")
@click.argument("unpacked", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of photographs."
)
def world_photographs(unpacked: Path, output: Path) -> None:
    """Gather the tiny world's photographs, with their licences, from Debian packages.

    UNPACKED holds a folder for each package, as `dpkg -x` makes it.
    """
    from datagen.sources.debian_photographs import gather

    click.echo(f"{output}: {gather(unpacked, output)} photographs")


@datagen.command()
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the panels."
)
@click.option(
    "--photographs",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of photographs to cut panels from.",
)
@click.option(
    "--credits",
    "credit_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV file of their `file`, `licence`, `attribution`.",
)
@click.option(
    "--bundled",
    multiple=True,
    metavar="NAME",
    help="A photograph that comes with the project's dependencies; may be given again.",
)
@click.option("--crops", default=28, show_default=True, type=click.IntRange(1))
@click.option("--scenes", default=0, show_default=True, type=click.IntRange(0))
@click.option("--first-scene", default=0, show_default=True, type=click.IntRange(0))
@click.option("--side", default=128, show_default=True, type=click.IntRange(16, 4096))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def panels(output: Path, credit_file: Path | None, **settings: Any) -> None:
    """Cut panels without edits, for a pretraining that draws its own edits."""
    from datagen.making.loose_panels import LoosePanels, write_panels

    count, skipped = write_panels(LoosePanels(credits=credit_file, **settings), output)
    for file in skipped:
        click.echo(f"note: {file}", err=True)
    click.echo(f"{output}: {count:,} panels")


@datagen.command()
@click.argument("folder", type=click.Path(path_type=Path))
def tasks(folder: Path) -> None:
    """List the tasks of a copy of Relation252K, as the YAML of a recipe.

    Take out the lines of the tasks that are trained on: the rest is the split by name, for
    `tiers.new_task` of two recipes that extend relation252k-train and relation252k-suite.
    """
    import json

    from datagen.sources.relation252k import list_tasks

    counts = list_tasks(folder)
    click.echo("tiers:\n  new_task:")
    for name, count in counts.items():
        click.echo(f"    - {json.dumps(name, ensure_ascii=False)} # {count} pairs")


@datagen.command()
@click.option(
    "--page", is_flag=True, help="Print the page of the docs on recipes: all of their keys."
)
def recipes(page: bool) -> None:
    """List the ready recipes: what `datagen build` takes by name."""
    from datagen.recipe import page as recipe_page

    if page:
        click.echo(recipe_page.page(), nl=False)
        return
    for name, about in recipe_page.summaries().items():
        click.echo(f"{name}: {about}")


@datagen.command()
@click.argument("recipe")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The pinned recipe, a YAML file.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe, e.g. source.path=photos.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Processes to check the files in.",
)
def pin(recipe: str, output: Path, settings: tuple[str, ...], workers: int) -> None:
    """Write RECIPE with the sha256 of every photograph that it uses.

    Two labs with these files then build one suite.
    """
    from datagen.making.build_notes import sentences
    from datagen.pinning import pin as pin_recipe

    count, notes = pin_recipe(recipe, output, settings, workers)
    for note in sentences(notes):
        click.echo(f"note: {note}", err=True)
    click.echo(f"{output}: {count} photographs pinned")


@datagen.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--dry-run", is_flag=True, help="Show what would go, and go nowhere.")
@click.option(
    "--public",
    is_flag=True,
    help="Make a new repository public; without it only you and your organisation see it.",
)
@click.option("--revision", help="The branch to push to; by default main.")
def push(dataset: Path, repo: str, dry_run: bool, public: bool, revision: str | None) -> None:
    """Put DATASET on the hub as the dataset repository OWNER/NAME.

    Each shard is compared with the manifest first. A suite that goes out in full is no longer a
    test: publish its public view.
    """
    from datagen.push import collect_upload, describe_published
    from lorweb_bench.runtime.hub import push_files

    upload = collect_upload(dataset)
    if dry_run:
        click.echo("\n".join(upload.lines(repo, "dataset", public)))
        return
    describe_published(upload, repo)
    click.echo(f"{dataset} is at {push_files(upload, repo, 'dataset', public, revision)}")


@datagen.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw every one of them to this PNG.",
)
@click.option(
    "--page", is_flag=True, help="Print the page of the docs on the library: families and limits."
)
def transformations(output: Path | None, page: bool) -> None:
    """List the transformation library: id, kind, parameters, instruction; -o draws the gallery."""
    from datagen.transformations import library
    from lorweb_bench.errors import InputError

    if page:
        from datagen.transformations.page import page as library_page

        click.echo(library_page(library()), nl=False)
        return

    if output is not None and output.suffix.lower() != ".png":
        raise InputError(f"{output}: the gallery is a PNG; give a name that ends in .png.")
    _print_table(library())
    if output is not None:
        _draw_gallery(library(), output)
        click.echo(f"Gallery: {output}")


def _print_table(library: "Library") -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = NARROW
    table = Table(header_style="bold")
    for column in ("id", "kind", "parameters", "instruction"):
        table.add_column(column, overflow="fold")
    for family in library.families.values():
        for values in family.presets:
            spec = library.describe(family.name, values)
            fresh = "" if spec["deterministic"] else " (a fresh seed each time)"
            parameters = json.dumps(spec["parameters"]).strip("{}")
            table.add_row(spec["id"] + fresh, spec["kind"], parameters, spec["instruction"])
    console.print(table)
    console.print(
        f"{table.row_count} transformations of {len(library.families)} families; "
        "--page lists what else their parameters take."
    )


def _draw_gallery(library: "Library", output: Path) -> None:
    import io

    from datagen.making.panels import fit
    from datagen.sources.bundled import bundled
    from datagen.transformations.gallery import gallery
    from lorweb_bench.runtime.files import write_atomic

    source = next(source for source in bundled() if source.name == "astronaut")
    buffer = io.BytesIO()
    gallery(library, fit(source.load(), (GALLERY_PIXELS, GALLERY_PIXELS))).save(buffer, "PNG")
    write_atomic(output, buffer.getvalue())
