"""A checkpoint folder: `config.json`, `adapter_model.safetensors` (the names that stock diffusers
loads) and `router.safetensors`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import contents_of, read_json, write_json
from lorweb_bench.runtime.hub import local_folder
from lorweb_bench.runtime.settings import checked
from reference_model.bases.tiny_folder import ASSETS
from reference_model.checkpoints.digests import model_digests
from reference_model.checkpoints.weights import check_shapes, read_tensors
from reference_model.config import AdapterConfig, TrainConfig
from reference_model.model.adapter import Adapter, new_adapter
from reference_model.model.basis import Basis
from reference_model.training.resume_state import WRITING, whole, write_tensors

FORMAT = "lorweb-bench/checkpoint"
# How the names begin of what a run that was stopped at any moment leaves behind.
UNFINISHED = (
    "training_state.safetensors",
    "adapter_model.safetensors",
    "router.safetensors",
    "known_pairs.safetensors",
    ".config.json.",
    "samples",
    "logs",
    WRITING,
)


# What the header of a file says to whoever opens it without its router.
NOT_ALONE = {
    "lorweb": "The basis of a LoRWeB: wrong without the gates of an analogy, which its router "
    "gives. `lorweb-bench compose` writes the LoRA of one analogy.",
    "token-control": "A LoRA that reads tokens beside the prompt, which router.safetensors gives: "
    "wrong without them. Run it with `lorweb-bench apply`.",
}
NOT_ALONE["delta-tokens"] = NOT_ALONE["token-control"]


def adapter_header(basis: Basis, settings: AdapterConfig) -> dict[str, str]:
    """The header of `adapter_model.safetensors`.

    Other tools load the file without a word, so it says itself whether it is whole: a basis needs
    the gates of an analogy.
    """
    header = {**basis.header(), "lorweb_bench.kind": settings.kind}
    header["lorweb_bench.needs_gates"] = "true" if settings.kind == "lorweb" else "false"
    if settings.kind in NOT_ALONE:
        header["modelspec.description"] = NOT_ALONE[settings.kind]
    return header


def routing_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """The trained weights beside the basis: the router's, or the control's token projection.

    A single LoRA has none.
    """
    return routing_weights({"router": adapter.router, "token": adapter.token})


def routing_weights(modules: dict[str, nn.Module | None]) -> dict[str, Tensor]:
    """The weights of the modules beside a basis, by the names in `router.safetensors`."""
    return {
        f"{name}.{k}": v
        for name, module in modules.items()
        if module is not None
        for k, v in module.state_dict().items()
    }


def write_checkpoint(
    folder: Path, adapter: Adapter, config: TrainConfig, about: dict[str, Any], write: bool = True
) -> None:
    """Write the weights, then `config.json`, which marks the checkpoint as whole.

    Of several processes all call this and one writes.
    """
    basis = {name: whole(x) for name, x in adapter.basis.tensors().items()}
    routing = {name: whole(x) for name, x in routing_tensors(adapter).items()}
    if not write:
        return
    write_tensors(
        folder / "adapter_model.safetensors", basis, adapter_header(adapter.basis, config.adapter)
    )
    write_tensors(folder / "router.safetensors", routing, {"format": "pt"})
    write_settings(folder, config, {**model_digests(config), **about})


def write_settings(folder: Path, config: TrainConfig, about: dict[str, Any]) -> None:
    """Write `config.json`, which marks the checkpoint as whole."""
    settings = json.loads(config.model_dump_json(exclude={"dataset", "cache"}))
    write_json(folder / "config.json", {"format": FORMAT, "format_version": 1, **settings, **about})


def is_finished(folder: Path, identity: str) -> bool:
    """Whether the folder holds the whole checkpoint of this very run.

    InputError when it holds something else.
    """
    path = folder / "config.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, and a checkpoint is a folder; name another output")
    if not path.exists():
        others = [path.name for path in contents_of(folder)]
        if strange := [name for name in others if not name.startswith(UNFINISHED)]:
            raise InputError(
                f"{folder}: holds something else ({strange[0]}); name an empty or a new folder"
            )
        return False
    config = read_json(path)
    if (
        not isinstance(config, dict)
        or config.get("format") != FORMAT
        or config.get("identity") != identity
    ):
        raise InputError(
            f"{folder}: holds something else, or a checkpoint trained with other settings; name "
            "another folder"
        )
    return True


def read_config(folder: Path, with_base: bool = True) -> TrainConfig:
    """The config of a checkpoint folder.

    InputError when it is missing, of another format or version, or incomplete.

    Also where the base is another one than it was trained on; without `with_base` the base is not
    looked for.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: no checkpoint there ({error}); `lorweb-bench train` writes one"
        ) from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or raw.get("format_version") != 1:
        raise InputError(
            f"{path}: not of format `{FORMAT}` 1; name a folder that `lorweb-bench train` wrote"
        )
    fields = {name: raw[name] for name in TrainConfig.model_fields if name in raw}
    config = checked(TrainConfig, fields, str(path), "training config")
    if (
        not with_base or "imported_from" in raw
    ):  # the released format does not say which weights it was trained on
        return config
    for part, digest in model_digests(config).items():
        if raw.get(part) != digest:
            raise InputError(
                f"{folder}: was trained on another `{config.base}` base than the one there "
                f"({part}); train it again"
            )
    return config


def load_routing(folder: Path, weights: dict[str, Tensor]) -> None:
    """Set the weights beside a basis to those of a checkpoint folder.

    InputError where they are not those that the config asks for.
    """
    path = folder / "router.safetensors"
    tensors = read_tensors(path)
    check_shapes(path, tensors, {name: tuple(x.shape) for name, x in weights.items()})
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[name])


def checkpoint_folder(name: str | Path) -> Path:
    """The folder of a checkpoint; of one on the hub, `hub:owner/name@revision`, its files.

    The name `lorweb` stands for the one that ships, unless there is a folder of that name.
    """
    shipped = ASSETS / "lorweb"
    return (
        shipped
        if str(name) == "lorweb" and not Path(name).exists() and shipped.exists()
        else local_folder(name, "model")
    )


def load_checkpoint(folder: Path, bits: str = "no") -> tuple[Adapter, TrainConfig]:
    """The adapter of a checkpoint folder on its frozen base, ready to run, and its config.

    With `bits`, `8bit` or `4bit`, the base's blocks are quantised by bitsandbytes.
    """
    config = read_config(folder)
    adapter = new_adapter(config, 0, bits)
    adapter.basis.load(
        read_tensors(folder / "adapter_model.safetensors"),
        str(folder / "adapter_model.safetensors"),
    )
    load_routing(folder, routing_tensors(adapter))
    adapter.trainable().requires_grad_(False)
    return adapter, config
