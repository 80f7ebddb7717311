"""By what a checkpoint and a cache know the models that they were made with.

Sha256 over the files.
"""

import hashlib

from lorweb_bench.runtime.files import sha256_file
from reference_model.bases.registry import base_folder, base_kind
from reference_model.bases.tiny_folder import tiny_digest
from reference_model.config import TrainConfig
from reference_model.model import imagenet
from reference_model.model.backbones import backbone_folder


def encoder_digest(config: TrainConfig) -> dict[str, str]:
    """Of what feeds the router, where anything does."""
    if config.encoder == "pair":
        folder = base_folder(config.base)
        full_size = base_kind(config.base, folder).full_size
        return {} if full_size else {"encoder_sha256": tiny_digest(folder, "encoder")}
    if config.adapter.kind == "single-lora":
        return {}
    if config.encoder == imagenet.NAME:
        return {"encoder_sha256": sha256_file(imagenet.weights_file())}
    files = sorted(
        p
        for p in backbone_folder(config.encoder).iterdir()
        if p.suffix in (".json", ".safetensors")
    )
    digests = " ".join(f"{path.name} {sha256_file(path)}" for path in files)
    return {"encoder_sha256": hashlib.sha256(digests.encode()).hexdigest()}


def model_digests(config: TrainConfig) -> dict[str, str]:
    """Of the base's weights and of what feeds the router.

    A checkpoint is at home on these alone.
    """
    folder = base_folder(config.base)
    base = base_kind(config.base, folder).transformer_digest(folder)
    return {"base_sha256": base, **encoder_digest(config)}


def frozen_encoder_digests(config: TrainConfig) -> dict[str, str]:
    """Of the image codec, the text encoders and what feeds the router.

    What a cache holds follows from these.
    """
    folder = base_folder(config.base)
    base = base_kind(config.base, folder).encoders_digest(folder)
    # The key is part of the identity of caches on disk, so it keeps the name it was written with.
    return {"eyes_sha256": base, **encoder_digest(config)}
