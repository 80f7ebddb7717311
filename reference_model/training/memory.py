"""What a training needs of a GPU's memory, estimated from shapes.

No weight is made and nothing is downloaded.

Weights, gradients and moments are counted byte by byte. Activations are those that a double and a
single block keep for the backward pass when they run on the meta device, without the attention's
scores, which GPUs do not keep. What the estimate leaves out: the CUDA context, fragments, and
passing tensors; `RESERVE` is for these.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reference_model.bases.registry import (
    base_kind,
    published_as,
    shaped_transformer,
    transformer_config,
)
from reference_model.bases.tiny_folder import local_folder
from reference_model.config import AdapterConfig, FitConfig, TrainConfig
from reference_model.fitting.fit import CHECKS
from reference_model.model.adapter import DTYPES
from reference_model.model.basis import Basis
from reference_model.model.grid_layout import CONTEXT, TARGET

Blocks = tuple[tuple[str, int], ...]  # a setting that counts blocks, and how many there are
SIZES = {"no": 4, "bf16": 2, "fp16": 2}
CARD = 24 * 2**30  # bytes of a card that is sold as one of 24 GB
RESERVE = 2**30
HUB_BACKBONE = 4 * 304_293_888  # bytes of CLIP ViT-L/14, which is held in float32


@dataclass(frozen=True)
class Memory:
    """Bytes of the parts of a training in one process.

    `encoders` are the codec, the text encoders and the backbone.
    """

    frozen: int
    encoders: int
    weights: int
    gradients: int
    moments: int
    copies: int
    activations: int

    @property
    def total(self) -> int:
        """All of it at once, as it is when the backward pass begins."""
        return (
            self.frozen
            + self.encoders
            + self.weights
            + self.gradients
            + self.moments
            + self.copies
            + self.activations
        )


def estimate_memory(config: TrainConfig, shapes: list[torch.Size]) -> Memory:
    """The estimate for a training whose trained tensors have these shapes.

    One process, which has the whole batch.

    Trained weights and gradients are float32, and autocast keeps a copy of the weights in half
    precision.
    """
    training = config.training
    size, count = SIZES[training.precision], sum(shape.numel() for shape in shapes)
    return Memory(
        frozen=frozen_bytes(config),
        encoders=0 if config.cache else frozen_encoder_bytes(config),
        weights=4 * count,
        gradients=4 * count,
        moments=moments_bytes(shapes, training.optimizer),
        copies=size * count if size < 4 else 0,
        activations=activation_bytes(config, training.batch // training.accumulation),
    )


def moments_bytes(shapes: list[torch.Size], optimizer: str) -> int:
    """AdamW's two moments: float32, or 8 bits with a float32 scale for each 256.

    Bitsandbytes leaves those of small tensors whole.
    """
    counts = [shape.numel() for shape in shapes]
    return sum(
        8 * n if optimizer == "adamw" or n < 4096 else 2 * (n + 4 * -(-n // 256)) for n in counts
    )


def linear_bytes(count: int, rows: int, bits: str, size: int) -> int:
    """A weight of `count` numbers in `rows` rows.

    As it is, as LLM.int8() with a scale a row, or as NF4 with quantised scales.
    """
    if bits == "8bit":
        return count + 4 * rows
    if (
        bits == "4bit"
        # a scale of a byte for each 64, a float32 for each 256 of these and their mean, and two
        # tables
    ):
        scales = -(-count // 64)
        return -(-count // 2) + scales + 4 * (-(-scales // 256) + 1) + 4 * (16 + 256)
    return size * count


def frozen_bytes(config: TrainConfig) -> int:
    """The transformer: the weights of its blocks' linear layers quantised where that is asked for,
    the rest in the training precision.
    """
    size = SIZES[config.training.precision]
    count, weights = frozen_shapes(config.base)
    return size * count + sum(
        linear_bytes(w.numel(), w[0], config.training.quantize, size) - size * w.numel()
        for w in weights
    )


@cache
def frozen_shapes(base: str) -> tuple[int, list[torch.Size]]:
    """How many weights a base's transformer has, and the shapes of those that can be quantised."""
    with torch.device("meta"):
        transformer = shaped_transformer(base)
    adapted = base_kind(base).adapted
    chosen = [
        m.weight.shape
        for n, m in transformer.named_modules()
        if isinstance(m, nn.Linear) and re.fullmatch(adapted, n)
    ]
    return sum(p.numel() for p in transformer.parameters()), chosen


def frozen_encoder_bytes(config: TrainConfig) -> int:
    """The codec, the text encoders and the backbone.

    By their files where they are here, else by what the hub has.
    """
    folder, size = local_folder(config.base), SIZES[config.training.precision]
    published = published_as(config.base)
    if published is not None:
        held = size * published.encoder_weights
    else:
        held = base_kind(config.base).encoder_bytes(folder)
    if config.encoder == "pair" or config.adapter.kind == "single-lora":
        return held
    backbone = Path(config.encoder)
    return held + (
        sum(file.stat().st_size for file in backbone.glob("*.safetensors"))
        if backbone.is_dir()
        else HUB_BACKBONE
    )


def count_tokens(config: TrainConfig) -> tuple[int, int]:
    """Tokens of a sample's pictures, of square panels, and of its prompt, as they meet in the
    blocks.
    """
    kind = base_kind(config.base)
    patch = kind.token_side(local_folder(config.base), transformer_config(config.base))
    panel = (config.panel // patch) ** 2
    pictures = [
        (TARGET[config.layout], 1),
        *(
            (p, config.pair_shrink if p in (("a",), ("a_prime",)) else 1)
            for p in CONTEXT[config.layout]
        ),
    ]
    tokens = sum(panel * len(picture) // shrink**2 for picture, shrink in pictures)
    has_tokens = config.adapter.kind in ("token-control", "delta-tokens")
    extra = config.adapter.tokens if has_tokens else 0
    words = kind.prompt_length(len(CONTEXT[config.layout]))
    return kind.sequence_length(tokens), words + extra


def activation_bytes(config: TrainConfig, samples: int) -> int:
    """What the backward pass needs of the forward pass.

    With checkpointing the input of every block, and one block at a time.
    """
    counts, width = block_counts(config.base)
    length = count_tokens(config)
    settings = (config.base, config.adapter.model_dump_json(), config.training.precision, *length)
    one = dict.fromkeys(counts, 1)
    smallest = samples * saved_bytes(tuple(one.items()), *settings)
    of_block = {}
    for name in counts:
        larger = {**one, name: 2}
        of_block[name] = samples * saved_bytes(tuple(larger.items()), *settings) - smallest
    outside = smallest - sum(of_block.values())
    if not config.training.gradient_checkpointing:
        return outside + sum(count * of_block[name] for name, count in counts.items())
    blocks = sum(counts.values())
    inputs = blocks * samples * sum(length) * width * SIZES[config.training.precision]
    return outside + inputs + max(of_block.values())


@cache
def block_counts(base: str) -> tuple[dict[str, int], int]:
    """How many blocks of each sort a base's transformer has, and the width of its tokens."""
    with torch.device("meta"):
        settings = shaped_transformer(base).config
    counts = {name: int(settings[name]) for name in base_kind(base).block_counts}
    return counts, int(settings["num_attention_heads"]) * int(settings["attention_head_dim"])


@cache
def saved_bytes(
    blocks: Blocks,
    base: str,
    adapter: str,
    precision: str,
    tokens: int,
    words: int,
) -> int:
    """Bytes of a sample that are saved for the backward pass by a transformer of some blocks, run
    on the meta device.
    """
    settings = AdapterConfig.model_validate_json(adapter)
    kind = base_kind(base)
    with torch.device("meta"):
        transformer = kind.new_transformer({**transformer_config(base), **dict(blocks)})
        transformer.requires_grad_(False)
        basis = Basis(
            transformer, settings.elements, settings.rank, settings.alpha, settings.targets
        )
        nn.Module.to(transformer, DTYPES[precision])
        if settings.kind == "lorweb":
            basis.gates = torch.empty(
                len(basis.layers), 1, settings.elements, dtype=DTYPES[precision], requires_grad=True
            )
        weights = {w.untyped_storage()._cdata for w in transformer.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(
            saved := SavedTensors(weights, tokens + words), lambda x: x
        ):
            transformer(**kind.forward_inputs(transformer, tokens, words, DTYPES[precision]))
    return saved.bytes


class SavedTensors:
    """A hook that adds up the storages of what autograd keeps, each once.

    Without weights and without square attention scores.
    """

    def __init__(self, known: set[int], length: int) -> None:
        self.known, self.length, self.bytes = set(known), length, 0
        self.held: list[Tensor] = []

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known and tensor.shape[-2:] != (self.length, self.length):
            self.known.add(storage._cdata)
            self.held.append(tensor)  # alive, so that no other storage takes its place
            self.bytes += storage.nbytes()
        return tensor


def with_settings(config: TrainConfig, **changes: Any) -> TrainConfig:
    """The config with other settings, of its own or of its training."""
    own_changes = {k: v for k, v in changes.items() if k in type(config).model_fields}
    training = config.training.model_copy(
        update={k: v for k, v in changes.items() if k not in own_changes}
    )
    return config.model_copy(update={**own_changes, "training": training})


def what_fits(
    config: TrainConfig, shapes: list[torch.Size], card: int = CARD
) -> dict[str, Any] | None:
    """The settings, beside those of the config, with which it fits a card, the cheapest first.

    None where all of them are not enough.
    """
    saving = [
        ("gradient_checkpointing", True),
        ("optimizer", "adamw-8bit"),
        ("accumulation", config.training.batch),
    ]
    saving += [("cache", Path("FOLDER"))] if config.cache is None else []
    saving += [("quantize", bits) for bits in ("8bit", "4bit") if config.training.quantize == "no"]
    changes: dict[str, Any] = {}
    lean = base_kind(config.base).layouts[-1]
    for key, value in [*saving, ("quantize", "4bit"), ("layout", lean), ("", None)]:
        changed = with_settings(config, **changes)
        if estimate_memory(changed, shapes).total + RESERVE <= card:
            return changes
        if key and with_settings(changed, **{key: value}) != changed:
            changes[key] = value
    return None


def as_lines(config: TrainConfig, shapes: list[torch.Size]) -> Iterator[str]:
    """The estimate in words, in GB (10^9 bytes)."""
    training, memory = config.training, estimate_memory(config, shapes)
    moments = {"adamw": "float32", "adamw-8bit": "8 bits"}[training.optimizer]
    held = {"no": training.precision.replace("no", "float32"), "8bit": "8 bits", "4bit": "4 bits"}[
        training.quantize
    ]
    at_once = training.batch // training.accumulation
    yield f"memory of one GPU in GB, an estimate; {at_once} samples of {config.panel} px at once"
    rows = {
        f"frozen transformer, {held}": memory.frozen,
        "codec, text encoders, backbone": memory.encoders,
        "trained weights": memory.weights,
        "their gradients": memory.gradients,
        f"AdamW's moments, {moments}": memory.moments,
        "their copies in half precision": memory.copies,
        "activations": memory.activations,
        "together": memory.total,
    }
    yield from (f"  {name:<32}{value / 1e9:8.2f}" for name, value in rows.items())
    yield "together, with checkpointing, a cache and one sample at once"
    saving = with_settings(
        config, cache=Path("cache"), gradient_checkpointing=True, accumulation=training.batch
    )
    yield f"  {'frozen transformer':<32}{'adamw':>10}{'adamw-8bit':>12}"
    least = estimate_memory(saving, shapes)
    for bits, name in (("no", "as it is"), ("8bit", "8 bits"), ("4bit", "4 bits")):
        frozen = replace(least, frozen=frozen_bytes(with_settings(saving, quantize=bits)))
        totals = [
            replace(frozen, moments=moments_bytes(shapes, o)).total / 1e9
            for o in ("adamw", "adamw-8bit")
        ]
        yield f"  {name:<32}{totals[0]:10.2f}{totals[1]:12.2f}"
    yield card_line(what_fits(config, shapes))
    yield from fit_lines(config, shapes)


def fit_bytes(config: TrainConfig, shapes: list[torch.Size], bits: str) -> int:
    """Memory of a fit to one item, at inference: the base in `bits`, its encoders, the trained
    weights, and activations for the backward pass; what is fitted is some thousand numbers.
    """
    fitting = with_settings(
        config, quantize=bits, gradient_checkpointing=base_kind(config.base).full_size, cache=None
    )
    weights = 4 * sum(shape.numel() for shape in shapes)
    return (
        frozen_bytes(fitting)
        + frozen_encoder_bytes(fitting)
        + weights
        + activation_bytes(fitting, FitConfig.model_validate({}).draws)
    )


def fit_passes(fit: FitConfig, checkpointing: bool) -> int:
    """How many forward passes a fit to one item costs, beside making a' of a at its end.

    A step is a forward pass and a backward pass, which costs one more as the base's weights get no
    gradients, and with checkpointing one again. The held-out noise is looked at once before the
    search and four times in it.
    """
    step = 3 if checkpointing else 2
    return fit.steps * fit.draws * step + fit.held_out * (1 + CHECKS)


def fit_lines(config: TrainConfig, shapes: list[torch.Size]) -> Iterator[str]:
    """What a fit to an item's own pair would cost, in words."""
    fit, kind = FitConfig.model_validate({}), base_kind(config.base)
    sampling = kind.steps * (1 if kind.negative_prompt is None else 2)  # one more without the words
    passes = fit_passes(fit, kind.full_size) + sampling
    yield (
        f"a fit of {fit.steps} steps (--set fit.steps={fit.steps} of apply, predict and compose): "
        f"about {passes} forward passes an item, where an image takes {sampling}"
    )
    for bits, name in (("no", "as it is"), ("4bit", "4 bits")):
        total = fit_bytes(config, shapes, bits) / 1e9
        yield f"  {f'one item, frozen transformer {name}':<42}{total:8.2f} GB"


def card_line(settings: dict[str, Any] | None) -> str:
    """Whether a card of 24 GB can train, and with which settings, in a sentence."""
    if settings is None:
        return "a card of 24 GB is too small, whatever the settings"
    named = [
        f"{'' if key in TrainConfig.model_fields else 'training.'}{key}={value}"
        for key, value in settings.items()
    ]
    return (
        f"a card of 24 GB can train this with {', '.join(named)}"
        if named
        else "a card of 24 GB can train this as it is"
    )
