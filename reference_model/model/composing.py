"""`compose`: one analogy, or a point on the way between two, as a LoRA file for other tools."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from lorweb_bench.errors import InputError
from reference_model.analysis.space import Lora, Space, energy, lora_tensors, open_space, shrink
from reference_model.training.resume_state import write_tensors


def mixed_lora(
    space: Space, pairs: Sequence[Sequence[Image.Image]], b: Image.Image, weight: float
) -> Lora:
    """The LoRA of the analogy of one pair (a, a') with b, or `weight` of the way to that of a
    second pair with the same b.

    The walk mixes coefficients, (1 - weight) e + weight e2; as the update is linear in them, it
    runs along a straight line in weights.
    """
    if space.router is None:
        if len(pairs) > 1:
            raise InputError(
                "--mix: a single LoRA is the same for every analogy, so there is nothing to walk "
                "between; leave --mix out"
            )
        return space.fold(None)
    found = space.coefficients([(a, a_prime, b) for a, a_prime in pairs])
    return space.fold(torch.lerp(found[0], found[-1], weight) if len(pairs) > 1 else found[0])


def compose_file(
    model: Path,
    pairs: Sequence[Sequence[Image.Image]],
    b: Image.Image,
    output: Path,
    rank: int | None,
    weight: float,
    dtype: str,
) -> Iterator[str]:
    """Write the LoRA of `mixed_lora` to a safetensors file, shrunk to `rank` where that is given.

    Yields what to tell the user.
    """
    space = open_space(model)
    whole = space.config.adapter.elements * space.config.adapter.rank
    lora = mixed_lora(space, pairs, b, weight)
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
    write_tensors(output, tensors, {"format": "pt"})
    size = output.stat().st_size
    yield f"{output}: a LoRA of rank {rank or whole} on {len(lora)} layers, {size / 1e6:.1f} MB"


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
