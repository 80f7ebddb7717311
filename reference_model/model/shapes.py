"""What a training config would train and need, from shapes alone.

Nothing is downloaded and no weight is made.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from lorweb_bench.errors import InputError
from reference_model.bases.base import check_layout
from reference_model.bases.registry import base_kind, shaped_transformer, transformer_config
from reference_model.config import TrainConfig
from reference_model.model import imagenet
from reference_model.model.backbones import INPUTS, backbone_width, dense_shape
from reference_model.model.basis import Basis
from reference_model.model.edit_tokens import EditTokens
from reference_model.model.router import Router

# The widths of the embeddings of backbones on the hub.
BACKBONE_WIDTHS = {
    "openai/clip-vit-large-patch14": 768,
    "google/siglip2-base-patch16-224": 768,
    imagenet.NAME: imagenet.WIDTH,
}
# Their patches, and the width of a patch's features.
DENSE_SHAPES = {
    "openai/clip-vit-large-patch14": (256, 1024),
    "google/siglip2-base-patch16-224": (196, 768),
}


@dataclass(frozen=True)
class Shapes:
    """Counts of weights, and the shapes of the trained tensors."""

    adapted_layers: int
    basis: int
    routing: int
    base: int
    trained: list[torch.Size]

    @property
    def trainable(self) -> int:
        """All trainable weights."""
        return self.basis + self.routing


def known_dense_shape(config: TrainConfig) -> tuple[int, int]:
    """How many patches the config's backbone sees, and the width of their features.

    InputError for a backbone that is neither known nor a folder here.
    """
    if config.encoder in DENSE_SHAPES:
        return DENSE_SHAPES[config.encoder]
    with known_backbone(config.encoder):
        return dense_shape(config.encoder)


@contextmanager
def known_backbone(name: str) -> Iterator[None]:
    """Turn what keeps a backbone's config from being read into an InputError."""
    try:
        yield
    except (OSError, ValueError, KeyError, AttributeError) as error:
        encoders, reason = ", ".join(["pair", *BACKBONE_WIDTHS]), " ".join(str(error).split())[:160]
        raise InputError(
            f"encoder `{name}`: not one of {encoders}, nor a backbone that is here ({reason})"
        ) from error


def feature_width(config: TrainConfig) -> int:
    """The width of the features that an encoder gives.

    InputError for a backbone that is neither known nor a folder here.
    """
    if config.encoder == "pair":
        return int(
            transformer_config(config.base).get("pooled_projection_dim", 768)
        )  # what the pair encoder says; 768 in FLUX
    if config.encoder_input == "delta":
        return math.prod(known_dense_shape(config))
    width = BACKBONE_WIDTHS.get(config.encoder)
    if width is None:
        with known_backbone(config.encoder):
            width = backbone_width(config.encoder)
    return INPUTS[config.encoder_input] * width


def training_shapes(config: TrainConfig) -> Shapes:
    """Shapes of the base and of what is trained on it."""
    settings = config.adapter
    check_layout(base_kind(config.base), config.layout)
    with torch.device("meta"):
        transformer = shaped_transformer(config.base)
        total = sum(p.numel() for p in transformer.parameters())
        basis = Basis(
            transformer, settings.elements, settings.rank, settings.alpha, settings.targets
        )
        features = feature_width(config)
        routing: nn.Module = nn.Module()
        routing = nn.ModuleList()
        if settings.kind == "lorweb" and settings.router == "trained":
            router = Router(len(basis.layers), settings.elements, features, settings.key_width)
            routing.append(router)
        tokens = settings.tokens_beside if settings.kind == "lorweb" else 0
        if settings.kind == "token-control":
            tokens = settings.tokens
        width = transformer.config.joint_attention_dim
        if tokens:
            routing.append(nn.Linear(features, tokens * width))
        if settings.kind == "delta-tokens":
            patch = known_dense_shape(config)[1]
            routing.append(EditTokens(features, patch, settings.tokens, width))
    learning = [] if settings.basis == "frozen" else basis.parameters()
    basis_shapes, beside = (
        [p.shape for p in learning],
        [p.shape for p in routing.parameters()],
    )
    return Shapes(
        len(basis.layers),
        sum(s.numel() for s in basis_shapes),
        sum(s.numel() for s in beside),
        total,
        basis_shapes + beside,
    )


def as_lines(shapes: Shapes) -> list[str]:
    """The counts in words, with separators."""
    return [
        f"adapted linear layers   {shapes.adapted_layers:,}",
        f"trainable parameters    {shapes.trainable:,} (basis {shapes.basis:,}, routing "
        f"{shapes.routing:,})",
        f"frozen transformer      {shapes.base:,}",
    ]
