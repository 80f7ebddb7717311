"""Pretrain the pair encoder of a base that knows a world.

It learns to name the families of the edit that it sees, first and second; then, beside the finished
base, to say the instruction as the base's text encoder encodes it, numbers and all. Edits come from
the base's own world, so the encoder knows what the base knows, and no family that is new to it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reference_model.bases.base import Base
from reference_model.bases.registry import load_base
from reference_model.model.adapter import read_pair_encoder
from reference_model.model.encoder import PairEncoder, name_loss
from reference_model.model.operator import PATCH
from reference_model.training.growing import grow_pair_encoder
from reference_model.training.pretraining import SAYING, Phase, optimise, write_encoder
from reference_model.training.world import EditBatch, World

NAMER = "namer.safetensors"
MEASURED = 4096  # instructions that tell the mean and scale of their encodings
Draw = Callable[[int], EditBatch]


def pretrain_namer(
    world: World,
    features: int,
    phase: Phase,
    seed: int,
    folder: Path,
    identity: str,
    start: Path | None,
) -> None:
    """Teach a pair encoder to name families, and write it to `folder`; resumes by itself.

    Args:
        world: Draws the edits.
        features: Width of the base's pooled text vectors.
        phase: How long and how fast.
        seed: Of weights and edits.
        folder: The base's folder.
        identity: Of all that decides the result.
        start: Folder whose pair encoder lends its weights, or None.
    """
    torch.manual_seed(seed)
    encoder = PairEncoder(len(world.families), features, PATCH)
    if start is not None:
        grow_pair_encoder(read_pair_encoder(start / "encoder.safetensors"), encoder)
    encoder = encoder.to(memory_format=torch.channels_last)
    encoder.say.requires_grad_(False)

    def loss_of(item: Any) -> Tensor:
        _, edits = item
        return name_loss(encoder.named(edits.before, edits.after)[1], classes(world, edits))

    draw = drawn_without_copies(world, seed, 1, phase.batch)
    losses = optimise("encoder", encoder, phase, loss_of, draw, folder, identity)
    write_encoder(folder / NAMER, encoder, losses)


def align(world: World, phase: Phase, seed: int, folder: Path, identity: str) -> None:
    """Teach the namer of a base's folder to say instructions, and write the pair encoder.

    Its features are the base's pooled text vectors, centred and of unit scale. Resumes by itself.

    Args:
        world: Draws the edits.
        phase: How long and how fast.
        seed: Of the edits.
        folder: The base's folder, with the base and the namer in it.
        identity: Of all that decides the result.
    """
    base = load_base(str(folder))
    encoder = read_pair_encoder(folder / NAMER).requires_grad_(True).train()
    encoder = encoder.to(memory_format=torch.channels_last)
    mean, scale = scale_of_instructions(base, world, seed)

    def loss_of(item: Any) -> Tensor:
        _, edits = item
        seen, names = encoder.named(edits.before, edits.after)
        with torch.no_grad():
            truth = (base.text_encoder(edits.prompts)[1] - mean) / scale
        said = nn.functional.mse_loss(encoder.said(seen, names), truth)
        return name_loss(names, classes(world, edits)) + SAYING * said

    draw = drawn_without_copies(world, seed, 5, phase.batch)
    losses = optimise("alignment", encoder, phase, loss_of, draw, folder, identity)
    write_encoder(folder / "encoder.safetensors", encoder, losses)


def classes(world: World, edits: EditBatch) -> tuple[Tensor, Tensor]:
    """The numbers of the first and second family of each edit; one that has no second has the last.

    Returns:
        Two tensors (batch) of numbers in the order of the world's families.
    """
    number = {name: n for n, name in enumerate(world.families)}
    first = [number[families[0]] for families in edits.families]
    second = [number[f[1]] if len(f) > 1 else len(number) for f in edits.families]
    return torch.tensor(first), torch.tensor(second)


def drawn_without_copies(world: World, seed: int, number: int, batch: int) -> Draw:
    """Draws the edits of each step; `number` tells this use of the seed from others."""
    edited = World(
        world.config.model_copy(update={"copies": 0.0}),
        world.library,
        world.families,
        world.panels,
    )
    return lambda step: edited.draw((seed, number, step), batch)


def scale_of_instructions(base: Base, world: World, seed: int) -> tuple[Tensor, Tensor]:
    """Mean (width) and scale of the pooled vectors of the world's instructions."""
    random_edits = drawn_without_copies(world, seed, 6, 256)
    with torch.inference_mode():
        pooled = []
        for step in range(MEASURED // 256):
            pooled.append(base.text_encoder(random_edits(step).prompts)[1])
        vectors = torch.cat(pooled)
    mean = vectors.mean(0)
    return mean.clone(), (vectors - mean).square().mean().sqrt().clone()
