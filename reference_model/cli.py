"""Commands of the reference model.

Train, apply, compose, import-lorweb, inspect-model, pretrain-tiny.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from PIL.Image import Image


@click.command("pretrain-tiny")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the base."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting, e.g. dataset=photos-mini-train.",
)
@click.option(
    "--part",
    type=click.Choice(["all", "encoder", "base", "alignment"]),
    default="all",
    help="Make one part only; the first two may run side by side.",
)
def pretrain_tiny(config: Path, output: Path, overrides: tuple[str, ...], part: str) -> None:
    """Make a tiny base; resumes by itself.

    The base and its pair encoder: from a config with a `world`, of all families of the world; from
    another one, of a training dataset.
    """
    from lorweb_bench.runtime.files import check_output

    check_output(output, folder=True)
    from reference_model.training.pretrain_world import (
        describes_world,
        pretrain_world,
        read_world_config,
    )
    from reference_model.training.pretraining import PARTS, pretrain, read_config

    parts = PARTS if part == "all" else (part,)
    if describes_world(config):
        pretrain_world(read_world_config(config, list(overrides)), output, parts)
    else:
        pretrain(read_config(config, list(overrides)), output, parts)
    click.echo(f"base: {output}")


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the checkpoint.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting, e.g. training.steps=500.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print trainable parameters and memory; download and write nothing.",
)
def train(config: Path, output: Path | None, overrides: tuple[str, ...], dry_run: bool) -> None:
    """Train an adapter on a frozen base; resumes by itself."""
    from lorweb_bench.errors import InputError
    from reference_model.config import read_train_config

    settings = read_train_config(config, list(overrides))
    if dry_run:
        from reference_model.model import shapes
        from reference_model.training import memory
        from reference_model.training.work import work_lines

        found = shapes.training_shapes(settings)
        lines = [*shapes.as_lines(found), *memory.as_lines(settings, found.trained)]
        click.echo("\n".join([*lines, *work_lines(settings)]))
        return
    if output is None:
        raise InputError(
            "no output folder; add `-o CHECKPOINT`, or `--dry-run` to see what would be trained"
        )
    from lorweb_bench.runtime.files import check_output

    if os.environ.get("RANK", "0") == "0":  # of several processes the one that writes
        check_output(output, folder=True)
    from reference_model.training.train import train as train_adapter

    checkpoint = train_adapter(settings, output)
    if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        click.echo(f"checkpoint: {checkpoint}")


FIT = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Fit the mix to the pair itself, e.g. fit.steps=20.",
)


def _read_fit(settings: tuple[str, ...]) -> "dict[str, Any] | None":
    """The settings of a fit from `--set`; InputError where there are others."""
    from lorweb_bench.errors import InputError
    from lorweb_bench.runtime.settings import parse_options

    options = parse_options(settings)
    if others := [key for key in options if key != "fit"]:
        raise InputError(f"--set {others[0]}: there is only `fit`, e.g. --set fit.steps=20")
    fit = options.get("fit")
    if fit is not None and not isinstance(fit, dict):
        raise InputError(f"--set fit={fit}: name a setting of the fit, e.g. --set fit.steps=20")
    return fit


MODEL = click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    help="Checkpoint folder; `lorweb` is the one that ships.",
)


def triplet(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments A, A_PRIME and B of a command, files of images."""
    for name in ("b", "a_prime", "a"):  # the last decorator is the first argument
        command = click.argument(name, type=click.Path(path_type=Path))(command)
    return command


def _read_images(*paths: Path) -> "list[Image]":
    """The images in these files; InputError names the one that cannot be read."""
    from lorweb_bench.data.images import decode
    from lorweb_bench.errors import InputError

    images = []
    for path in paths:
        try:
            images.append(decode(path.read_bytes(), str(path)))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return images


SECOND_PAIR = click.option(
    "--mix",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="A2 A2_PRIME",
    help="A second pair, to walk towards.",
)
STRENGTH = click.option(
    "--strength",
    type=click.FloatRange(0, 3),
    default=1.0,
    show_default=True,
    help="What the update of the weights is multiplied by; 0 is the bare base.",
)


@click.command()
@MODEL
@triplet
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG to write: b', or with --mix the strip of the walk.",
)
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG of a, a', b and b' side by side, with their names.",
)
@SECOND_PAIR
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    help="Pictures on the walk, both ends among them; 7 if left out.",
)
@click.option(
    "--prompt",
    default="",
    metavar="WORDS",
    help="The edit in words, for a checkpoint that was trained with captions.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the noise, of any size.")
@STRENGTH
@FIT
def apply(
    model: Path,
    a: Path,
    a_prime: Path,
    b: Path,
    output: Path | None,
    sheet: Path | None,
    mix: tuple[Path, Path] | None,
    steps: int | None,
    prompt: str,
    seed: int,
    strength: float,
    settings: tuple[str, ...],
) -> None:
    """Make b' so that A : A_PRIME :: B : b', or walk to a second pair's b'."""
    from lorweb_bench.errors import InputError
    from reference_model.applying.writing import Outputs, write_answer, write_walk

    if steps is not None and not mix:
        raise InputError("--steps counts the pictures on a walk; add `--mix A2 A2_PRIME`")
    outputs = Outputs(output, sheet)
    files = [(a, a_prime), *([mix] if mix else [])]
    pairs = []
    for first, second in files:
        before, after = _read_images(first, second)
        pairs.append((before, after))
    image_b = _read_images(b)[0]
    fit = _read_fit(settings)

    from reference_model.applying.analogy import Analogy, AnalogyModel

    names = tuple(f"{first} and {second}" for first, second in files)
    analogy = Analogy(tuple(pairs), image_b, prompt, seed, strength, fit, names)
    opened = AnalogyModel(model)
    lines = write_walk(opened, analogy, outputs, steps or 7) if mix else None
    for line in lines or write_answer(opened, analogy, outputs):
        click.echo(line)


@click.command("known-pairs")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    required=True,
    type=click.Path(path_type=Path),
    help="The training dataset of the checkpoint.",
)
def known_pairs(checkpoint: Path, dataset: Path) -> None:
    """Store in a checkpoint what its training data look like to it.

    `apply` and `ui` then name the nearest trained transformations, and say when an analogy is
    unlike all of them. A training does this by itself.
    """
    from reference_model.applying.writing import store_known_pairs

    click.echo(store_known_pairs(checkpoint, dataset))


@click.command()
@MODEL
@triplet
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Safetensors file to write.",
)
@click.option(
    "--rank",
    type=click.IntRange(min=1),
    help="Shrink to this rank by SVD; without it, the whole rank of the basis.",
)
@SECOND_PAIR
@click.option(
    "--weight",
    type=click.FloatRange(0, 1),
    help="How far to walk: 0 is A : A_PRIME, 1 is A2 : A2_PRIME; 0.5 if left out.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Of the file.",
)
@STRENGTH
@FIT
def compose(
    model: Path,
    a: Path,
    a_prime: Path,
    b: Path,
    output: Path,
    rank: int | None,
    mix: tuple[Path, Path] | None,
    weight: float | None,
    dtype: str,
    strength: float,
    settings: tuple[str, ...],
) -> None:
    """Write the LoRA of one analogy as a file that stock diffusers loads."""
    from lorweb_bench.errors import InputError
    from lorweb_bench.runtime.files import check_output

    if output.suffix != ".safetensors":
        raise InputError(
            f"{output}: a LoRA is written as safetensors; give it a name that ends in .safetensors"
        )
    if weight is not None and not mix:
        raise InputError("--weight says how far to walk to a second pair; add `--mix A2 A2_PRIME`")
    check_output(output)
    from reference_model.method import check_pair
    from reference_model.model.composing import compose_file

    fit = _read_fit(settings)
    pairs = []
    for pair in filter(None, ((a, a_prime), mix)):
        first, second = _read_images(*pair)
        pairs.append((first, second))
        if fit is not None:
            check_pair(first, second, f"{pair[0]} and {pair[1]}")
    walked = 0.5 if weight is None else weight
    image_b = _read_images(b)[0]
    for line in compose_file(model, pairs, image_b, output, rank, walked, dtype, fit, strength):
        click.echo(line)


@click.command()
@click.option(
    "--model",
    default="lorweb",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Checkpoint folder; `lorweb` is the one that ships.",
)
@click.option("--host", help="Address to serve at; 127.0.0.1 if left out, 0.0.0.0 for all.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port; the first free one from 7860 on."
)
def ui(model: Path, host: str | None, port: int | None) -> None:
    """Open a page in the browser: three pictures in, b' out, until it is stopped."""
    from reference_model.applying.analogy import AnalogyModel
    from reference_model.ui.page import build_page
    from reference_model.ui.serving import serve

    serve(build_page(AnalogyModel(model)), host, port)


@click.command("inspect-model")
@click.argument("model", metavar="CHECKPOINT", type=click.Path(path_type=Path))
@click.option(
    "--suite", required=True, type=click.Path(path_type=Path), help="Suite to look at it with."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML page to write.",
)
@click.option(
    "--items",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    help="Items whose coefficients are taken, at most.",
)
@click.option(
    "--effect-items",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    help="Items each element is left out on; 0: none.",
)
def inspect_model(model: Path, suite: Path, output: Path, items: int, effect_items: int) -> None:
    """Show the space of a checkpoint.

    Coefficients, a map of the suite's transformations, the effect of each element.
    """
    from lorweb_bench.runtime.files import check_output

    check_output(output)
    from reference_model.analysis.space_page import write_space_page

    click.echo(write_space_page(model, suite, output, items, effect_items))


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--suite", required=True, type=click.Path(path_type=Path), help="Full view of a suite."
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=60, show_default=True, help="Of each search."
)
@click.option(
    "--examples",
    type=click.IntRange(min=2),
    default=160,
    show_default=True,
    help="Pictures that each transformation is run on, at most.",
)
@click.option(
    "--transformations",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only so many transformations of each tier.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of all choices and noise.")
def oracle(
    checkpoint: Path,
    suite: Path,
    output: Path,
    steps: int,
    examples: int,
    transformations: int | None,
    seed: int,
) -> None:
    """Find what is reachable for each transformation of a suite, and where it is lost.

    Resumes by itself, transformation by transformation.
    """
    from lorweb_bench.runtime.files import check_output

    check_output(output, folder=True)
    from reference_model.analysis.oracle import Settings
    from reference_model.analysis.oracle_output import write_oracle

    settings = Settings(steps=steps, examples=examples, transformations=transformations, seed=seed)
    for line in write_oracle(checkpoint, suite, output, settings):
        click.echo(line)


@click.command("import-lorweb")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), help="The config.yaml beside it."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the checkpoint.",
)
@click.option(
    "--base", help="Base that it was trained on; without it, the one that the config names."
)
@click.option(
    "--encoder-view",
    type=click.Choice(["official", "stretched"]),
    default="official",
    show_default=True,
    help="How the encoder sees panels that are not square: as in the authors' code, or whole.",
)
@click.option(
    "--working-size",
    type=click.Choice(["megapixel", "panel"]),
    default="megapixel",
    show_default=True,
    help="A grid of one megapixel as in the authors' code, or panels of at most 512 pixels.",
)
@click.option("--name", default="lorweb", show_default=True, help="What reports call the method.")
def import_lorweb(
    file: Path,
    config: Path,
    output: Path,
    base: str | None,
    encoder_view: str,
    working_size: str,
    name: str,
) -> None:
    """Make a checkpoint of a released LoRWeB (FILE.safetensors)."""
    from lorweb_bench.runtime.files import check_output

    check_output(output, folder=True)
    from reference_model.checkpoints.released import import_released

    ways = {"encoder_view": encoder_view, "working_size": working_size, "name": name}
    made = import_released(file, config, output, base, ways)
    click.echo(f"checkpoint: {output}, {made.weights:,} weights in {made.layers} layers")
    for note in made.notes:
        click.echo(note, err=True)
