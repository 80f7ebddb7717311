"""A checkpoint folder: `config.json`, `adapter_model.safetensors` (the names that stock diffusers loads) and `router.safetensors`."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from lorweb_bench.errors import InputError
from lorweb_bench.files import write_json
from reference_model.adapter import Adapter, new_adapter
from reference_model.base import ASSETS
from reference_model.config import TrainConfig
from reference_model.state import write_tensors

FORMAT = "lorweb-bench/checkpoint"


def base_digest(base: str) -> str:
    """sha256 of the base's weights file, by which a checkpoint knows the base that it was trained on."""
    folder = ASSETS / "tiny" if base == "tiny" else Path(base)
    return hashlib.sha256((folder / "base.safetensors").read_bytes()).hexdigest()


def routing_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """The trained weights beside the basis: the router's, or the control's token projection; a single LoRA has none."""
    modules = {"router": adapter.router, "token": adapter.token}
    return {f"{name}.{k}": v for name, module in modules.items() if module is not None for k, v in module.state_dict().items()}


def write_checkpoint(folder: Path, adapter: Adapter, config: TrainConfig, about: dict[str, Any]) -> None:
    """Write the weights, then `config.json`, which marks the checkpoint as whole."""
    write_tensors(folder / "adapter_model.safetensors", adapter.basis.tensors(), {"format": "pt"})
    write_tensors(folder / "router.safetensors", routing_tensors(adapter), {"format": "pt"})
    settings = json.loads(config.model_dump_json(exclude={"dataset"}))
    write_json(folder / "config.json", {"format": FORMAT, "format_version": 1, **settings, "base_sha256": base_digest(config.base), **about})


def is_finished(folder: Path, identity: str) -> bool:
    """Whether the folder holds the whole checkpoint of this very run; InputError when it holds something else."""
    path = folder / "config.json"
    if not path.exists():
        others = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        if strange := [n for n in others if not n.startswith("training_state.") and not n.endswith(".safetensors.part") and n not in WEIGHTS]:
            raise InputError(f"{folder}: holds something else ({strange[0]}); name an empty or a new folder")
        return False
    found = json.loads(path.read_text())
    if found.get("format") != FORMAT or found.get("identity") != identity:
        raise InputError(f"{folder}: holds something else, or a checkpoint trained with other settings; name another folder")
    return True


WEIGHTS = ("adapter_model.safetensors", "router.safetensors")


def read_config(folder: Path) -> TrainConfig:
    """The config of a checkpoint folder; InputError when it is missing, of another format or version, or incomplete."""
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no checkpoint there ({error}); `lorweb-bench train` writes one") from error
    if raw.get("format") != FORMAT or raw.get("format_version") != 1:
        raise InputError(f"{path}: format `{raw.get('format')}` {raw.get('format_version')}, expected `{FORMAT}` 1")
    try:
        config = TrainConfig.model_validate({k: raw[k] for k in TrainConfig.model_fields if k in raw})
    except ValidationError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if base_digest(config.base) != raw["base_sha256"]:
        raise InputError(f"{folder}: was trained on another `{config.base}` base than the one installed; train it again")
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; InputError when it is missing, cut or something else."""
    try:
        return load_file(path)
    except Exception as error:
        raise InputError(f"{path}: missing or not a whole safetensors file ({error}); copy or train the checkpoint again") from error


def load_checkpoint(folder: Path) -> tuple[Adapter, TrainConfig]:
    """The adapter of a checkpoint folder on its frozen base, ready to run, and its config."""
    config = read_config(folder)
    adapter = new_adapter(config, seed=0)
    adapter.basis.load(read_tensors(folder / "adapter_model.safetensors"), str(folder / "adapter_model.safetensors"))
    routing = read_tensors(folder / "router.safetensors")
    own = routing_tensors(adapter)
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in routing.items()}:
        raise InputError(f"{folder / 'router.safetensors'}: its weights do not fit `adapter` in config.json; copy or train the checkpoint again")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(routing[name])
    adapter.trainable().requires_grad_(False)
    return adapter, config
