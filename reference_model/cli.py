"""Commands of the reference model: train, apply, pretrain-tiny."""

from pathlib import Path

import click


@click.command("pretrain-tiny")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the base.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. dataset=photos-mini-train.")
@click.option(
    "--part", type=click.Choice(["both", "encoder", "base"]), default="both", help="Make one part only; the two may run side by side."
)
def pretrain_tiny(config: Path, output: Path, overrides: tuple[str, ...], part: str) -> None:
    """Make the tiny base and its pair encoder from a training dataset; resumes by itself."""
    from reference_model.pretraining import pretrain, read_config

    pretrain(read_config(config, list(overrides)), output, ("encoder", "base") if part == "both" else (part,))
    click.echo(f"base: {output}")


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the checkpoint.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. training.steps=500.")
@click.option("--dry-run", is_flag=True, help="Print trainable parameters and memory; download and write nothing.")
def train(config: Path, output: Path | None, overrides: tuple[str, ...], dry_run: bool) -> None:
    """Train an adapter on a frozen base; resumes by itself."""
    from lorweb_bench.errors import InputError
    from reference_model.config import read_train_config

    settings = read_train_config(config, list(overrides))
    if dry_run:
        from reference_model.shapes import as_lines, shapes_of

        click.echo("\n".join(as_lines(shapes_of(settings))))
        return
    if output is None:
        raise InputError("no output folder; add `-o CHECKPOINT`, or `--dry-run` to see what would be trained")
    from reference_model.training import train as train_adapter

    click.echo(f"checkpoint: {train_adapter(settings, output)}")


@click.command()
@click.option("--model", required=True, type=click.Path(path_type=Path), help="Checkpoint folder; `lorweb` is the one that ships.")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("a_prime", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="PNG to write.")
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
def apply(model: Path, a: Path, a_prime: Path, b: Path, output: Path, seed: int) -> None:
    """Make b' so that A : A_PRIME :: B : b'."""
    from lorweb_bench.errors import InputError
    from lorweb_bench.files import write_atomic
    from lorweb_bench.images import decode, encode
    from lorweb_bench.quadruplet import Triplet
    from reference_model.method import from_checkpoint

    if output.suffix.lower() != ".png":
        raise InputError(f"{output}: the answer is written as PNG; give it a name that ends in .png")
    images = []
    for path in (a, a_prime, b):
        try:
            images.append(decode(path.read_bytes(), str(path)))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    method = from_checkpoint(model)
    answer = method.predict([Triplet(key="b", a=images[0], a_prime=images[1], b=images[2], prompt=None, seed=seed)])[0]
    write_atomic(output, encode(answer, "png"))
    click.echo(f"{output}: {answer.width} x {answer.height}, by {method.name} (works at up to {method.longest} px)")
