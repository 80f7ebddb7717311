"""A cache of what the frozen parts give.

Latents, image features and prompts, computed once, so that training holds none of these parts.

A folder with `cache.json`, shards `samples/000000.safetensors` and `prompts/000000.safetensors`,
and beside each shard its sidecar, written after it: the mark that the shard is whole. Work that was
stopped is taken up where it was; several processes share it out by shard.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import safe_open
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES
from lorweb_bench.runtime.files import (
    canonical_json,
    claim_output,
    finish_output,
    read_json,
    sha256_file,
    write_json,
)
from lorweb_bench.runtime.progress import track
from reference_model.bases.registry import present_kind
from reference_model.checkpoints.digests import frozen_encoder_digests
from reference_model.config import TrainConfig, TrainingConfig, unused_settings
from reference_model.model.adapter import DTYPES
from reference_model.model.grid_layout import Picture
from reference_model.model.panels import encode_words
from reference_model.training.batches import (
    ORDERS,
    Batch,
    Choice,
    FrozenEncoders,
    encode_batch,
    load_frozen_encoders,
    panel_layout,
    prompt_for,
)
from reference_model.training.resume_state import clear_writing, write_tensors

FORMAT = "lorweb-bench/cache"
PROMPT_PARTS = ("tokens", "pooled")  # the names on disk of a prompt's two tensors
SAMPLES_PER_SHARD = 64
PROMPTS_PER_SHARD = 16


def role_orders(training: TrainingConfig) -> list[Choice]:
    """The orders of roles that a training draws, as choices of sample 0."""
    exchanges = [x for x in (False, True) if training.exchange_pairs != 1 - x]
    directions = [x for x in (False, True) if training.reverse_pairs != 1 - x]
    return [Choice(0, exchanged, backwards) for exchanged in exchanges for backwards in directions]


def picture_name(picture: Picture, shrink: int, choice: Choice) -> str:
    """The name of a picture of a sample, by the sample's own roles.

    One picture has one name, whichever parts its panels play.
    """
    role_of = dict(zip(ROLES, choice.roles, strict=True))
    return "+".join(role_of[role] for role in picture) + (f"/{shrink}" if shrink > 1 else "")


def prompt_name(prompt: str) -> str:
    """The name of a prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:32]


def cache_identity(config: TrainConfig, dataset: Dataset) -> str:
    """A digest of everything that decides what a cache holds."""
    settings = config.model_dump(
        include={"layout", "pair_shrink", "encoder", "encoder_input", "encoder_view", "prompt"},
        exclude=set(unused_settings(config)),
    )
    looks = config.adapter.kind != "single-lora"
    orders = [order_name(choice) for choice in role_orders(config.training)]
    if config.training.reversed_caption == "keep":  # the prompts of reversed orders
        orders.append("captions kept")
    data = [
        dataset.fingerprint,
        dataset.manifest.targets_fingerprint,
        SAMPLES_PER_SHARD,
        config.training.precision,
        looks,
        orders,
    ]
    return hashlib.sha256(
        canonical_json([settings, data, frozen_encoder_digests(config)]).encode()
    ).hexdigest()


def open_cache(
    config: TrainConfig,
    dataset: Dataset,
    keys: list[str],
    prompts: list[str],
    accelerator: Accelerator,
) -> "CachedBatches":
    """The cache of a training, written first where it is not whole yet.

    Every process makes its part.

    Raises InputError when the folder holds something else, or the cache of another training.
    """
    assert config.cache is not None
    identity = cache_identity(config, dataset)
    manifest = config.cache / "cache.json"
    if not manifest.exists():
        if accelerator.is_main_process:
            claim_output(config.cache, FORMAT, identity)
        accelerator.wait_for_everyone()
        write_cache(
            config,
            dataset,
            prompts,
            partial(load_frozen_encoders, config),
            (accelerator.process_index, accelerator.num_processes),
        )
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            _finish_cache(config.cache, manifest, identity, len(keys))
        accelerator.wait_for_everyone()
    content = read_json(manifest)
    if (
        not isinstance(content, dict)
        or content.get("format") != FORMAT
        or content.get("identity") != identity
    ):
        raise InputError(
            f"{config.cache}: holds the cache of other settings, models or data; name another "
            "folder, or delete it"
        )
    return CachedBatches(config, keys, prompts)


def _finish_cache(folder: Path, manifest: Path, identity: str, samples: int) -> None:
    """Mark a cache as whole that all processes have written."""
    for part in ("samples", "prompts"):
        clear_writing(folder / part)
    features = _width_of_features(folder)
    write_json(
        manifest,
        {
            "format": FORMAT,
            "format_version": 1,
            "identity": identity,
            "features": features,
            "samples": samples,
        },
    )
    finish_output(folder)


def _width_of_features(folder: Path) -> int:
    with safe_open(folder / "samples" / f"{0:06}.safetensors", framework="pt") as file:
        names = list(file.keys())
        features = next((name for name in names if "/features/" in name), None)
        return 0 if features is None else int(file.get_slice(features).get_shape()[0])


def write_cache(
    config: TrainConfig,
    dataset: Dataset,
    prompts: list[str],
    load: Callable[[], FrozenEncoders],
    part: tuple[int, int],
) -> None:
    """Write what is missing of a part (number, of how many) of a cache.

    `load` gives the frozen parts, if there is anything to look at.
    """
    assert config.cache is not None
    folder, (number, parts) = config.cache, part
    # Where the text encoder sees pictures, a prompt belongs to a sample and lies in its shard.
    sees_pictures = present_kind(config.base).sees_pictures
    texts = [] if sees_pictures else sorted({""} | set(prompts))
    missing = [
        n
        for n in _shards(prompts, SAMPLES_PER_SHARD)[number::parts]
        if not _shard_is_whole(folder / "samples", n)
    ]
    missing_texts = [
        n
        for n in _shards(texts, PROMPTS_PER_SHARD)[number::parts]
        if not _shard_is_whole(folder / "prompts", n)
    ]
    if not missing and not missing_texts:
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoders = load()
    for n in track(missing_texts, len(missing_texts), "caching prompts"):
        few = texts[n * PROMPTS_PER_SHARD : (n + 1) * PROMPTS_PER_SHARD]
        both = zip(PROMPT_PARTS, encoders.text_encoder.to(device)(few), strict=True)
        tensors = {
            f"{prompt_name(text)}/{kind}": row
            for kind, rows in both
            for text, row in zip(few, rows, strict=True)
        }
        _write_shard(
            folder / "prompts",
            n,
            {name: row.to(DTYPES[config.training.precision]) for name, row in tensors.items()},
            few,
        )
    if not sees_pictures:
        encoders.text_encoder.release()
    for n in track(missing, len(missing), "caching latents and features"):
        _write_shard(
            folder / "samples", n, *_shard_tensors(config, dataset, prompts, encoders, n, device)
        )


def _shards(items: Sequence[str], size: int) -> range:
    return range(-(-len(items) // size))


def _shard_tensors(
    config: TrainConfig,
    dataset: Dataset,
    prompts: list[str],
    encoders: FrozenEncoders,
    shard: int,
    device: torch.device,
) -> tuple[dict[str, Tensor], list[str]]:
    """A shard's tensors, `<key>/<picture>` and `<key>/features/<order>`, and its keys.

    Where the text encoder sees pictures, also `<key>/prompt/<order>/<text>`.
    """
    first = shard * SAMPLES_PER_SHARD
    encoders.codec.to(device)
    if encoders.encoder is not None:
        encoders.encoder.to(device)
    tensors: dict[str, Tensor] = {}
    keys = []
    context, target = panel_layout(config)
    quadruplets = _quadruplets(dataset, first, first + SAMPLES_PER_SHARD)
    for prompt, quadruplet in zip(prompts[first:], quadruplets, strict=False):
        keys.append(quadruplet.key)
        images = [
            torch.tensor(np.asarray(getattr(quadruplet, role))).permute(2, 0, 1)[None].to(device)
            for role in ROLES
        ]
        for choice in role_orders(config.training):
            order = ORDERS[choice.exchanged, choice.backwards]
            panels = {role: images[i] for role, i in zip(ROLES, order, strict=True)}
            before, after, features = encode_batch(encoders, config, panels)
            for (picture, shrink), tokens in zip(
                [*context, (target, 1)], [*before, after], strict=True
            ):
                tensors[f"{quadruplet.key}/{picture_name(picture, shrink, choice)}"] = tokens[0].to(
                    DTYPES[config.training.precision]
                )
            if features is not None:
                tensors[f"{quadruplet.key}/features/{order_name(choice)}"] = features[0].float()
            if encoders.sees_pictures:
                texts = {"", prompt_for(choice, [prompt], config.training)}
                words = _seen_prompts(config, encoders, panels, texts)
                start = f"{quadruplet.key}/prompt/{order_name(choice)}"
                tensors |= {f"{start}/{name}": tensor for name, tensor in words.items()}
    return tensors, keys


def _seen_prompts(
    config: TrainConfig, encoders: FrozenEncoders, panels: dict[str, Tensor], texts: set[str]
) -> dict[str, Tensor]:
    """Prompts of one sample, `<text>/tokens` and `<text>/pooled`, encoded beside its pictures."""
    tensors = {}
    encoders.text_encoder.to(panels["b"].device)
    for text in sorted(texts):
        encoded = encode_words(encoders, config.layout, [text], panels)
        for kind, rows in zip(PROMPT_PARTS, encoded, strict=True):
            tensors[f"{prompt_name(text)}/{kind}"] = rows[0].to(DTYPES[config.training.precision])
    return tensors


def order_name(choice: Choice) -> str:
    """The name of an order of roles, of which features depend."""
    return "+".join(choice.roles)


def _quadruplets(dataset: Dataset, first: int, last: int) -> Iterator[Any]:
    """The quadruplets first, …, last - 1 of the split `train`.

    Only the dataset's shards that hold them are read.
    """
    at = 0
    for shard, entry in enumerate(dataset.split("train").shards):
        if at < last and at + entry.samples > first:
            for n, sample in enumerate(dataset.samples("train", [shard]), at):
                if first <= n < last:
                    yield dataset.decode(sample)
        at += entry.samples


def _write_shard(folder: Path, number: int, tensors: dict[str, Tensor], names: list[str]) -> None:
    path = folder / f"{number:06}.safetensors"
    write_tensors(path, tensors)
    about = {
        "sha256": sha256_file(path),
        "bytes": path.stat().st_size,
        "samples": len(names),
        "names": names,
    }
    write_json(path.with_suffix(".json"), about)


def _shard_is_whole(folder: Path, number: int) -> bool:
    path = folder / f"{number:06}.safetensors"
    sidecar = path.with_suffix(".json")
    return (
        sidecar.is_file() and path.is_file() and path.stat().st_size == read_json(sidecar)["bytes"]
    )


class CachedBatches:
    """The batches of a cache; nothing but its shards is read."""

    def __init__(self, config: TrainConfig, keys: list[str], prompts: list[str]) -> None:
        assert config.cache is not None
        self.folder, self.config, self.keys, self.prompts = config.cache, config, keys, prompts
        self.files: dict[Path, Any] = {}
        self.sees_pictures = present_kind(config.base).sees_pictures
        self.text_shard: dict[str, int] = {}
        for path in sorted((self.folder / "prompts").glob("*.json")):
            self.text_shard |= dict.fromkeys(
                map(prompt_name, read_json(path)["names"]), int(path.stem)
            )
        self.features = int(read_json(self.folder / "cache.json")["features"])

    def _shard(self, kind: str, number: int) -> Any:
        """An open shard, checked against its sidecar when it is first used.

        InputError when it is not whole.
        """
        path = self.folder / kind / f"{number:06}.safetensors"
        if path not in self.files:
            try:
                if sha256_file(path) != read_json(path.with_suffix(".json"))["sha256"]:
                    raise ValueError("its bytes are not those that were written")
                self.files[path] = safe_open(path, framework="pt").__enter__()
            except (OSError, ValueError, KeyError) as error:
                raise InputError(
                    f"{path}: not a whole shard of the cache ({error}); delete {path.name} to have "
                    "it made again"
                ) from error
        return self.files[path]

    def _stacked(self, names: Sequence[tuple[int, str]], device: torch.device) -> Tensor:
        tensors = [
            self._shard("samples", index // SAMPLES_PER_SHARD).get_tensor(
                f"{self.keys[index]}/{name}"
            )
            for index, name in names
        ]
        return torch.stack(tensors).to(device).float()

    def batch(self, choices: Sequence[Choice], device: torch.device) -> Batch:
        """What the frozen parts gave of some choices, on a device."""
        context, target = panel_layout(self.config)
        pictures = []
        for picture, shrink in [*context, (target, 1)]:
            names = [(c.index, picture_name(picture, shrink, c)) for c in choices]
            pictures.append(self._stacked(names, device))
        features = None
        if self.features:
            features = self._stacked(
                [(c.index, f"features/{order_name(c)}") for c in choices], device
            )
        tokens, beside = (self._prompts(choices, kind).to(device).float() for kind in PROMPT_PARTS)
        return Batch(pictures[:-1], pictures[-1], features, (tokens, beside))

    def _prompts(self, choices: Sequence[Choice], kind: str) -> Tensor:
        """One of the tensors of the choices' prompts; shorter ones are filled up with zeros."""
        rows, training = [], self.config.training
        for choice in choices:
            name = f"{prompt_name(prompt_for(choice, self.prompts, training))}/{kind}"
            if self.sees_pictures:
                shard = self._shard("samples", choice.index // SAMPLES_PER_SHARD)
                name = f"{self.keys[choice.index]}/prompt/{order_name(choice)}/{name}"
            else:
                shard = self._shard("prompts", self.text_shard[name.partition("/")[0]])
            rows.append(shard.get_tensor(name))
        return pad_sequence(rows, batch_first=True)
