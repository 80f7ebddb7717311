"""The space of LoRAs that a checkpoint spans.

An analogy's coefficients, and the one LoRA that they make of the basis.

No weight of the transformer is needed for it: its shape gives the layers and their order, so a
basis for a large base is opened on a machine that could not run it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.progress import track
from reference_model.bases.registry import shaped_transformer
from reference_model.checkpoints.checkpoint import (
    checkpoint_folder,
    load_routing,
    read_config,
    routing_weights,
)
from reference_model.checkpoints.weights import read_tensors
from reference_model.config import TrainConfig
from reference_model.model.adapter import load_encoder, new_router
from reference_model.model.basis import Basis
from reference_model.model.router import Router
from reference_model.model.working_size import working_size

Lora = dict[
    str, tuple[Tensor, Tensor]
]  # by module path: A (rank, in) and B (out, rank); the update is B A


@dataclass(frozen=True)
class Space:
    """A checkpoint without its base.

    By module path, in the router's order, A (N*r, in) and B (out, N*r); the router and its encoder.
    """

    config: TrainConfig
    basis: Lora
    router: Router | None
    encoder: nn.Module | None

    def coefficients(
        self, analogies: Sequence[tuple[Image.Image, Image.Image, Image.Image]]
    ) -> Tensor:
        """Coefficients (analogies, layers, elements) of triplets (a, a', b), each looked at in the
        size that the model works at.
        """
        assert self.router is not None and self.encoder is not None
        sizes = working_size(self.config)
        mixes = []
        for a, a_prime, b in analogies:
            size = sizes.panel(a, b)
            panels = [sizes.tensor([image], size, torch.device("cpu")) for image in (a, a_prime, b)]
            with torch.inference_mode():
                mixes.append(self.router(self.encoder(*panels))[:, 0])
        return torch.stack(mixes)

    def fold(self, coefficients: Tensor | None) -> Lora:
        """The LoRA of one analogy from its coefficients (layers, elements), as a plain product B A.

        (alpha / r) e goes into B.

        Equal to the gated basis, whose update is (alpha / r) B diag(e repeated r times) A. A single
        LoRA has no coefficients.
        """
        settings = self.config.adapter
        if coefficients is None:
            coefficients = torch.ones(len(self.basis), settings.elements)
        scales = coefficients.repeat_interleave(settings.rank, dim=1) * (
            settings.alpha / settings.rank
        )
        return {
            name: (a, b * scale)
            for (name, (a, b)), scale in zip(self.basis.items(), scales, strict=True)
        }


def open_space(folder: str | Path) -> Space:
    """The space of a checkpoint folder.

    InputError where it is none, does not fit its base's shape, or reads tokens beside its weights.
    """
    folder = checkpoint_folder(folder)
    config = read_config(folder, with_base=False)
    settings = config.adapter
    if settings.kind in ("token-control", "delta-tokens"):
        what = "the token control is" if settings.kind == "token-control" else "delta-tokens are"
        raise InputError(
            f"{folder}: {what} no LoRA alone (it reads tokens beside it); name a "
            "lorweb or single-lora checkpoint"
        )
    if settings.tokens_beside:
        raise InputError(
            f"{folder}: its mix is no LoRA alone (adapter.tokens_beside: it reads a token beside "
            "it); name a checkpoint without one"
        )
    with torch.device("meta"):
        shaped = Basis(
            shaped_transformer(config.base),
            settings.elements,
            settings.rank,
            settings.alpha,
            settings.targets,
        )
    path = folder / "adapter_model.safetensors"
    tensors = read_tensors(path)
    shaped.load(tensors, str(path))
    basis = {}
    for name in shaped.layers:
        a = tensors[f"transformer.{name}.lora_A.weight"].float()
        b = tensors[f"transformer.{name}.lora_B.weight"].float()
        basis[name] = a, b
    if settings.kind == "single-lora":
        return Space(config, basis, None, None)
    encoder = load_encoder(config)
    router = new_router(settings, len(basis), encoder.features)
    load_routing(folder, routing_weights({"router": router}))
    return Space(config, basis, router.requires_grad_(False), encoder)


def energy(lora: Lora) -> dict[str, float]:
    """By module path the squared Frobenius norm of the update B A, the sum of its squared singular
    values.
    """
    return {name: float(((b.T @ b) * (a @ a.T)).sum()) for name, (a, b) in lora.items()}


def shrink(lora: Lora, rank: int) -> Lora:
    """The nearest LoRA of a lower rank, layer by layer.

    The leading singular directions of B A (Eckart and Young 1936).

    The SVD is that of the small matrix between the orthonormal bases of B's columns and A's rows.
    The singular values are shared evenly between A and B; a layer that is narrower than `rank` is
    filled with zeros, so that all layers have one rank.
    """
    return {
        name: _leading(a, b, rank)
        for name, (a, b) in track(lora.items(), len(lora), f"shrinking to rank {rank}")
    }


def _leading(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    q_b, core_left = torch.linalg.qr(b)
    right, core_right = torch.linalg.qr(a.T)
    u, values, v = torch.linalg.svd(core_left @ core_right.T)
    size = min(rank, len(values))
    root = values[:size].sqrt()
    low_a, low_b = a.new_zeros(rank, a.shape[1]), b.new_zeros(b.shape[0], rank)
    low_a[:size] = root[:, None] * (v[:size] @ right.T)
    low_b[:, :size] = (q_b @ u[:, :size]) * root
    return low_a, low_b


def lora_tensors(lora: Lora) -> dict[str, Tensor]:
    """The names that stock diffusers and other tools load, `transformer.<module
    path>.lora_A.weight`.

    Alpha equals the rank, which every tool takes it to be where a file says nothing of it.
    """
    parts = {name: {"lora_A": a, "lora_B": b} for name, (a, b) in lora.items()}
    return {
        f"transformer.{name}.{part}.weight": weight
        for name, pair in parts.items()
        for part, weight in pair.items()
    }
