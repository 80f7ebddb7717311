"""What a training config would train and need, from shapes alone: nothing is downloaded and no weight is made."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel

from lorweb_bench.errors import InputError
from reference_model.base import TINY_TRANSFORMER, local_folder
from reference_model.basis import Basis
from reference_model.config import TrainConfig
from reference_model.flux import is_flux_folder
from reference_model.router import Router
from reference_model.towers import INPUTS

# The transformer of FLUX.1-Kontext-dev: diffusers' defaults with the guidance embedding (its config.json on the hub).
HUB_TRANSFORMERS: dict[str, dict[str, Any]] = {"black-forest-labs/FLUX.1-Kontext-dev": {"guidance_embeds": True}}
# The widths of the embeddings of towers on the hub.
TOWER_WIDTHS = {"openai/clip-vit-large-patch14": 768, "google/siglip2-base-patch16-224": 768}
BYTES = {"no": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Shapes:
    """Counts of weights, and bytes of the parts of training that shapes decide; activations come on top."""

    adapted_layers: int
    basis: int
    routing: int
    base: int
    base_bytes: int
    adapter_bytes: int

    @property
    def trainable(self) -> int:
        """All trainable weights."""
        return self.basis + self.routing


def transformer_config(base: str) -> dict[str, Any]:
    """The transformer's config of a base that is known by name or lies in a folder."""
    if base in HUB_TRANSFORMERS:
        return HUB_TRANSFORMERS[base]
    folder = local_folder(base)
    try:
        if is_flux_folder(folder):
            raw = json.loads((folder / "transformer" / "config.json").read_text())
            return {key: value for key, value in raw.items() if not key.startswith("_")}
        return {**TINY_TRANSFORMER, **json.loads((folder / "config.json").read_text())["transformer"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        known = ", ".join(["tiny", *HUB_TRANSFORMERS])
        raise InputError(f"base `{base}`: neither a folder of a base nor one of {known} ({error})") from error


def features_of(config: TrainConfig) -> int:
    """The width of the features that an encoder gives; InputError for a tower that is neither known nor a folder here."""
    if config.encoder == "pair":
        return int(transformer_config(config.base).get("pooled_projection_dim", 768))  # what the pair encoder says; 768 in FLUX
    width = TOWER_WIDTHS.get(config.encoder)
    if width is None:
        try:
            found = json.loads((Path(config.encoder) / "config.json").read_text())
            found = {**found, **found.get("vision_config", {})}
            width = int(found["projection_dim" if found["model_type"].startswith("clip") else "hidden_size"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            known = ", ".join(["pair", *TOWER_WIDTHS])
            raise InputError(f"encoder `{config.encoder}`: not one of {known}, nor the folder of a tower ({error})") from error
    return INPUTS[config.encoder_input] * width


def shapes_of(config: TrainConfig) -> Shapes:
    """Shapes of a training run: weights and gradients in the training precision, AdamW's two moments and master weights in float32."""
    settings = config.adapter
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**transformer_config(config.base))
        total = sum(p.numel() for p in transformer.parameters())
        basis = Basis(transformer, settings.elements, settings.rank, settings.alpha, settings.targets)
        count = sum(p.numel() for p in basis.parameters())
        routing = 0
        features = features_of(config)
        if settings.kind == "lorweb":
            routing = sum(p.numel() for p in Router(len(basis.layers), settings.elements, features, settings.key_width).parameters())
        elif settings.kind == "token-control":
            routing = (features + 1) * settings.tokens * transformer.config.joint_attention_dim
    size = BYTES[config.training.precision]
    return Shapes(len(basis.layers), count, routing, total, total * size, (count + routing) * (4 + size + 8))


def as_lines(shapes: Shapes) -> list[str]:
    """The shapes in words, counts with separators and memory in GB (10^9 bytes)."""
    return [
        f"adapted linear layers   {shapes.adapted_layers:,}",
        f"trainable parameters    {shapes.trainable:,} (basis {shapes.basis:,}, routing {shapes.routing:,})",
        f"frozen transformer      {shapes.base:,}",
        f"memory, frozen weights  {shapes.base_bytes / 1e9:.2f} GB",
        f"memory, trained weights with gradients and AdamW {shapes.adapter_bytes / 1e9:.2f} GB",
        f"memory, together        {(shapes.base_bytes + shapes.adapter_bytes) / 1e9:.2f} GB, and the activations of a batch on top",
    ]
