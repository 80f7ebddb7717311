"""By what a checkpoint and a cache know the models that they were made with.

Sha256 over the files.
"""

import hashlib
from pathlib import Path

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file
from reference_model.config import TrainConfig
from reference_model.model.backbones import backbone_folder
from reference_model.model.base import base_folder
from reference_model.model.flux import ENCODER_PARTS, digest_of, is_flux_folder


def tiny_digest(folder: Path, part: str) -> str:
    """sha256 of the weights of a tiny base (`base`) or of its pair encoder (`encoder`).

    InputError when they are not there.
    """
    try:
        return sha256_file(folder / f"{part}.safetensors")
    except OSError as error:
        raise InputError(
            f"{folder}: no whole base there ({error}); name `tiny` or a folder written by "
            "`lorweb-bench pretrain-tiny`"
        ) from error


def encoder_digest(config: TrainConfig) -> dict[str, str]:
    """Of what feeds the router, where anything does."""
    if config.encoder == "pair":
        folder = base_folder(config.base)
        return {} if is_flux_folder(folder) else {"encoder_sha256": tiny_digest(folder, "encoder")}
    if config.adapter.kind == "single-lora":
        return {}
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
    base = (
        digest_of(folder, ("transformer",))
        if is_flux_folder(folder)
        else tiny_digest(folder, "base")
    )
    return {"base_sha256": base, **encoder_digest(config)}


def frozen_encoder_digests(config: TrainConfig) -> dict[str, str]:
    """Of the image codec, the text encoders and what feeds the router.

    What a cache holds follows from these.
    """
    folder = base_folder(config.base)
    base = (
        digest_of(folder, ENCODER_PARTS) if is_flux_folder(folder) else tiny_digest(folder, "base")
    )
    # The key is part of the identity of caches on disk, so it keeps the name it was written with.
    return {"eyes_sha256": base, **encoder_digest(config)}
