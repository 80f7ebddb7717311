"""The header of a LoRA file: what it is, for tools that show models by their headers.

The keys `modelspec.*` are those of ModelSpec 1.0.1 (https://github.com/Stability-AI/ModelSpec), the
keys `ss_*` those that trainers of LoRAs write and viewers read.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from lorweb_bench.data.dataset_card import PAPER
from reference_model.bases.registry import repository_of
from reference_model.config import TrainConfig

SPECIFICATION = "1.0.1"


def lora_header(
    config: TrainConfig, tensors: Mapping[str, Tensor], rank: int, made_by: str
) -> dict[str, str]:
    """The header of the LoRA of one analogy.

    It has no date, so that the same analogy gives the same file.

    Args:
        config: The checkpoint's config.
        tensors: What the file holds, by name.
        rank: The LoRA's rank; its alpha is the same.
        made_by: How it came about, in a sentence.
    """
    repository = repository_of(config.base)
    architecture = (repository or f"lorweb-{config.base}").rpartition("/")[2].lower()
    return {
        "format": "pt",
        "modelspec.sai_model_spec": SPECIFICATION,
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": f"One visual analogy by {config.name}",
        "modelspec.description": made_by,
        "modelspec.author": PAPER,
        "modelspec.resolution": f"{config.panel}x{config.panel}",
        "modelspec.hash_sha256": f"0x{_digest(tensors)}",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_base_model_version": repository or config.base,
    }


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 over names and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        values = tensors[name].detach().cpu().contiguous()
        digest.update(values.flatten().view(dtype=torch.uint8).numpy().tobytes())
    return digest.hexdigest()
