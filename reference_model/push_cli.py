"""The command `push`: a checkpoint or a composed LoRA to the hub."""

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--dry-run", is_flag=True, help="Show what would go, and go nowhere.")
@click.option(
    "--public",
    is_flag=True,
    help="Make a new repository public; without it only you and your organisation see it.",
)
@click.option("--revision", help="The branch to push to; by default main.")
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A report of it, for its card; may be given again.",
)
@click.option(
    "--dataset",
    metavar="OWNER/NAME",
    help="The suite of these reports on the hub: scores go as evaluation results too.",
)
@click.option(
    "--licence", default="other", show_default=True, help="The hub's name of its licence."
)
@click.option(
    "--base-model",
    metavar="OWNER/NAME",
    help="Its base on the hub, where its config names a folder.",
)
def push(
    model: Path,
    repo: str,
    dry_run: bool,
    public: bool,
    revision: str | None,
    reports: tuple[Path, ...],
    dataset: str | None,
    licence: str,
    base_model: str | None,
) -> None:
    """Put MODEL on the hub as the model repository OWNER/NAME.

    MODEL is a checkpoint's folder, or a .safetensors file that `compose` wrote. Its card is made
    from it, unless a README.md lies in the folder.
    """
    from lorweb_bench.runtime.hub import push_files
    from reference_model.checkpoints.push import Statements, collected

    said = Statements(licence, base_model, reports, dataset)
    with collected(model, repo, said) as upload:
        if dry_run:
            click.echo("\n".join(upload.lines(repo, "model", public)))
            return
        click.echo(f"{model} is at {push_files(upload, repo, 'model', public, revision)}")
