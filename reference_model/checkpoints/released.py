"""`import-lorweb`: the released format of LoRWeB's authors into a checkpoint of ours.

Per layer, under `transformer.` and the module path that diffusers gives it: `.lora_A` (N, in, r),
`.lora_B` (N, r, out), `.lora_keys` (N, d) and `.att_lora_to_q.weight` (d, features). Ours are the
same numbers: the elements stacked, the layers' routing in the base's order.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.runtime.progress import track
from reference_model.bases.registry import shaped_transformer
from reference_model.checkpoints.checkpoint import adapter_header, is_finished, write_settings
from reference_model.checkpoints.released_config import Released, read_released_config
from reference_model.checkpoints.weights import WeightsFile, open_weights
from reference_model.config import AdapterConfig
from reference_model.model.basis import Basis
from reference_model.model.shapes import feature_width
from reference_model.training.resume_state import write_tensors

PREFIX = "transformer."
PARTS = ("lora_A", "lora_B", "lora_keys", "att_lora_to_q.weight")


@dataclass(frozen=True)
class Imported:
    """What an import wrote: how many layers and weights, and what to know of it."""

    layers: int
    weights: int
    notes: list[str]


def import_released(
    file: Path,
    config_file: Path,
    folder: Path,
    base: str | None = None,
    ways: dict[str, str] | None = None,
) -> Imported:
    """Write the checkpoint of a released file and its config to `folder`.

    Nothing is downloaded: the base's shape is enough.

    Args:
        file: the weights of the release.
        config_file: the config.yaml beside them.
        folder: the checkpoint to write.
        base: takes the place of the base that the config names.
        ways: `encoder_view` and `working_size` where they are not to be the authors' own, and the
            `name` of the method.

    Raises:
        InputError: the sentence names the file and the layer, option or size that is wrong.
    """
    with open_weights(file) as tensors:
        released = read_released_config(config_file, _rank(tensors), base, ways)
        shaped = _shaped(released)
        _check(tensors, shaped, released)
        digest = sha256_file(file)
        identity = hashlib.sha256(
            f"{digest} {released.config.model_dump_json()}".encode()
        ).hexdigest()
        count = sum(p.numel() for p in shaped.parameters()) + sum(
            _routing_size(tensors, name) for name in shaped.layers
        )
        if is_finished(folder, identity):
            return Imported(len(shaped.layers), count, released.notes())
        basis, routing = _translated(tensors, list(shaped.layers))
    header = adapter_header(shaped, released.config.adapter)
    write_tensors(folder / "adapter_model.safetensors", basis, header)
    write_tensors(folder / "router.safetensors", routing, {"format": "pt"})
    about = {
        "imported_from": {"file": file.name, "sha256": digest, "network_kwargs": released.options}
    }
    write_settings(
        folder, released.config, {"identity": identity, "trainable_parameters": count, **about}
    )
    return Imported(len(shaped.layers), count, released.notes())


def _rank(tensors: WeightsFile) -> int:
    """The rank of an element, by the first layer."""
    for name, shape in tensors.shapes.items():
        if name.endswith(".lora_A") and len(shape) == 3 and shape[2] > 0:
            return shape[2]
    raise InputError(
        f"{tensors.path}: has no `.lora_A` of three axes; it is no LoRWeB checkpoint of the "
        "released format"
    )


def _shaped(released: Released) -> Basis:
    """The basis that the config asks for, in shape alone; its layers are the base's, in order."""
    settings: AdapterConfig = released.config.adapter
    with torch.device("meta"):
        return Basis(
            shaped_transformer(released.config.base),
            settings.elements,
            settings.rank,
            settings.alpha,
            settings.targets,
        )


def _check(tensors: WeightsFile, shaped: Basis, released: Released) -> None:
    """Every part of every layer is there, of the size that base and config ask for, and nothing
    else is.
    """
    settings, features = released.config.adapter, feature_width(released.config)
    expected: dict[str, tuple[int, ...]] = {}
    for name, layer in shaped.layers.items():
        linear: nn.Linear = layer.base_layer
        sizes = (
            (settings.elements, linear.in_features, settings.rank),
            (settings.elements, settings.rank, linear.out_features),
            (settings.elements, settings.key_width),
            (settings.key_width, features),
        )
        expected |= {
            f"{PREFIX}{name}.{part}": size for part, size in zip(PARTS, sizes, strict=True)
        }
    base = released.config.base
    if missing := sorted(expected.keys() - tensors.shapes.keys()):
        raise InputError(
            f"{tensors.path}: {len(missing)} of {len(expected)} tensors for `{base}` are missing, "
            f"`{missing[0]}` first"
        )
    if extra := sorted(tensors.shapes.keys() - expected.keys()):
        raise InputError(
            f"{tensors.path}: {len(extra)} tensors fit no layer of `{base}`, `{extra[0][:120]}` "
            "first; name its base with --base"
        )
    for name, shape in expected.items():
        if tensors.shapes[name] != shape:
            raise InputError(
                f"{tensors.path}: `{name}` is {tensors.shapes[name]}; `{base}` and the config ask "
                f"for {shape}"
            )


def _routing_size(tensors: WeightsFile, layer: str) -> int:
    keys, projection = (tensors.shapes[f"{PREFIX}{layer}.{part}"] for part in PARTS[2:])
    return keys[0] * keys[1] + projection[0] * projection[1]


def _translated(
    tensors: WeightsFile, layers: list[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Basis and routing under our names.

    Element n's rows of A and columns of B are n r, …, n r + r - 1.
    """
    basis: dict[str, Tensor] = {}
    keys, projections = [], []
    for layer in track(layers, len(layers), f"reading {tensors.path.name}"):
        a, b, key, projection = (tensors.tensor(f"{PREFIX}{layer}.{part}") for part in PARTS)
        basis[f"{PREFIX}{layer}.lora_A.weight"] = a.mT.flatten(0, 1)
        basis[f"{PREFIX}{layer}.lora_B.weight"] = b.flatten(0, 1).T
        keys.append(key)
        projections.append(projection)
    return basis, {"router.keys": torch.stack(keys), "router.projections": torch.stack(projections)}
