"""The commands of `lorweb-bench datagen`."""

from pathlib import Path

import click


@click.group()
def datagen() -> None:
    """Build datasets and suites from recipes; show the transformation library."""


@datagen.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The dataset's folder.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe, e.g. source.path=photos.")
@click.option("--workers", default=1, show_default=True, help="Processes to build with; the result does not depend on it.")
@click.option("--engine", default="local", show_default=True, type=click.Choice(["local", "ray"]), help="Where the processes run.")
def build(recipe: Path, output: Path, settings: tuple[str, ...], workers: int, engine: str) -> None:
    """Build the dataset that RECIPE asks for. Started again, it goes on where it was stopped."""
    from datagen.build import build as build_dataset
    from datagen.build import report
    from datagen.recipe import read_recipe

    built = build_dataset(read_recipe(recipe, settings), output, workers, engine)
    report(built)
    counts = ", ".join(f"{info.samples} {split}" for split, info in built.dataset.manifest.splits.items())
    click.echo(f"{output}: {built.dataset.name} {built.dataset.version}, {counts}, fingerprint {built.dataset.fingerprint}")
