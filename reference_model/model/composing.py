"""`compose`: one analogy, or a point on the way between two, as a LoRA file for other tools."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lorweb_bench.errors import InputError
from reference_model.analysis.space import Lora, Space, energy, lora_tensors, open_space, shrink
from reference_model.checkpoints.checkpoint import (
    checkpoint_folder,
    load_checkpoint,
    read_config,
)
from reference_model.checkpoints.lora_header import lora_header
from reference_model.config import read_fit
from reference_model.method import adapt, best_device
from reference_model.model.working_size import working_size
from reference_model.training.resume_state import write_tensors

Pair = tuple[Image.Image, Image.Image]


def mixed_lora(
    space: Space,
    pairs: Sequence[Pair],
    b: Image.Image,
    weight: float,
    coefficients: Tensor | None = None,
) -> Lora:
    """The LoRA of one analogy, or a point on the way from it to another with the same b.

    The walk mixes coefficients, (1 - weight) e + weight e2; as the update is linear in them, it
    runs along a straight line in weights.

    Args:
        space: a checkpoint without its base.
        pairs: one pair (a, a'), or two to walk between.
        b: the picture to edit.
        weight: how far to walk, from 0 to 1.
        coefficients: (pairs, layers, elements) where they were fitted; without them, the router's.
    """
    if space.router is None:
        if len(pairs) > 1:
            raise InputError(
                "--mix: a single LoRA is the same for every analogy, so there is nothing to walk "
                "between; leave --mix out"
            )
        return space.fold(None)
    if coefficients is None:
        coefficients = space.coefficients([(a, a_prime, b) for a, a_prime in pairs])
    mix = coefficients[0]
    if len(pairs) > 1:
        mix = torch.lerp(mix, coefficients[-1], weight)
    return space.fold(mix)


def fitted_coefficients(
    model: Path, pairs: Sequence[Pair], b: Image.Image, fit: Mapping[str, Any]
) -> Tensor:
    """Coefficients (pairs, layers, elements) fitted to each of some pairs by itself.

    The base is loaded for it, other than for the router's own coefficients.

    Raises:
        InputError: the checkpoint has no router, or the fit is not one of coefficients.
    """
    settings = read_fit(fit)
    folder = checkpoint_folder(model)
    config = read_config(folder)
    if config.adapter.kind != "lorweb" or (settings and settings.space == "lora"):
        raise InputError(
            f"--set fit: compose writes fitted coefficients, and {model} with this setting has "
            "none; name a checkpoint of kind lorweb, and fit.space hull or span"
        )
    adapter, config = load_checkpoint(folder)
    device = best_device()
    adapter.to(device)
    sizes = working_size(config)
    mixes = []
    for pair in pairs:
        size = sizes.panel(pair[0], b)
        a, a_prime, panel_b = (sizes.tensor([image], size, device) for image in (*pair, b))
        adaptation = adapt(adapter, config, settings, [(a, a_prime)], panel_b, [""])
        assert adaptation.gates is not None
        mixes.append(adaptation.gates[0].float().cpu())
    return torch.stack(mixes)


def compose_file(
    model: Path,
    pairs: Sequence[Pair],
    b: Image.Image,
    output: Path,
    rank: int | None,
    weight: float,
    dtype: str,
    fit: Mapping[str, Any] | None = None,
    strength: float = 1.0,
) -> Iterator[str]:
    """Write the LoRA of `mixed_lora` to a safetensors file, shrunk to `rank` where that is given.

    Yields what to tell the user. With `fit`, its settings, the mix is fitted to each pair.
    `strength` multiplies the update.
    """
    space = open_space(model)
    whole = space.config.adapter.elements * space.config.adapter.rank
    fitted = None if fit is None else fitted_coefficients(model, pairs, b, fit)
    lora = mixed_lora(space, pairs, b, weight, fitted)
    lora = {name: (low_a, low_b * strength) for name, (low_a, low_b) in lora.items()}
    if rank is not None:
        rank = min(rank, whole)
        before = energy(lora)
        lora = shrink(lora, rank)
        after = energy(lora)
        yield energy_kept(before, after, rank, whole)
    tensors = {
        name: weights.to(getattr(torch, dtype)) for name, weights in lora_tensors(lora).items()
    }
    if bad := [name for name, weights in tensors.items() if not weights.isfinite().all()]:
        raise InputError(
            f"{output}: `{bad[0]}` has values that {dtype} cannot hold; leave --dtype out"
        )
    header = lora_header(space.config, tensors, rank or whole, _made_by(pairs, weight, fit))
    write_tensors(output, tensors, header)
    size = output.stat().st_size
    yield f"{output}: a LoRA of rank {rank or whole} on {len(lora)} layers, {size / 1e6:.1f} MB"


def _made_by(pairs: Sequence[Pair], weight: float, fit: Mapping[str, Any] | None) -> str:
    """In a sentence, what the LoRA carries over, for the file's header."""
    walked = f", {weight:g} of the way to a second pair" if len(pairs) > 1 else ""
    fitted = ", fitted to the pair" if fit is not None else ""
    return f"The edit of one pair of pictures{walked}{fitted}; load it at weight 1."


def energy_kept(before: dict[str, float], after: dict[str, float], rank: int, whole: int) -> str:
    """In words, the share of the update's squared norm that a lower rank keeps, over all layers and
    in the worst one.
    """
    if not sum(before.values()):
        return f"rank {rank} of {whole}: the update is zero, so there is no energy to keep"
    shares = {name: min(1.0, after[name] / norm) for name, norm in before.items() if norm > 0}
    worst = min(shares, key=lambda name: shares[name])
    total = min(1.0, sum(after.values()) / sum(before.values()))
    return (
        f"rank {rank} of {whole} keeps {total:.2%} of the energy "
        f"({shares[worst]:.2%} in {worst}, the least)"
    )
