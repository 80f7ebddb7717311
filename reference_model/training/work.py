"""How long a training and an image take, from operations counted on the meta device."""

from collections.abc import Iterator
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reference_model.bases.registry import base_kind, shaped_transformer
from reference_model.config import AdapterConfig, TrainConfig
from reference_model.model.basis import Basis
from reference_model.model.working_size import MEGAPIXEL
from reference_model.training.memory import count_tokens

H100, SHARE = 989e12, 0.4  # operations a second in bf16 by the data sheet, and what is reached


@cache
def forward_operations(base: str, adapter: str, tokens: int, words: int) -> int:
    """Floating-point operations of a forward pass of one sample, with the adapter's LoRAs."""
    settings = AdapterConfig.model_validate_json(adapter)
    dtype = torch.bfloat16
    with torch.device("meta"), torch.no_grad():
        transformer = shaped_transformer(base)
        Basis(transformer, settings.elements, settings.rank, settings.alpha, settings.targets)
        nn.Module.to(transformer, dtype)
        inputs = base_kind(base).forward_inputs(transformer, tokens, words, dtype)
        with FlopCounterMode(display=False) as counter:
            transformer(**inputs)
    return int(counter.get_total_flops())


def training_operations(config: TrainConfig) -> int:
    """Operations of a whole training.

    Frozen weights get no gradients, so that a backward pass costs as much as a forward pass, and
    with checkpointing every block runs forward once more.
    """
    tokens, words = count_tokens(config)
    forward = forward_operations(config.base, config.adapter.model_dump_json(), tokens, words)
    passes = 3 if config.training.gradient_checkpointing else 2
    return passes * forward * config.training.steps * config.training.batch


def image_operations(config: TrainConfig) -> int:
    """Operations of one image, at the size that the config predicts at."""
    tokens, words = count_tokens(config)
    if config.working_size == "megapixel":
        side = 2 * config.panel
        tokens = round(tokens * MEGAPIXEL / side**2)
    forward = forward_operations(config.base, config.adapter.model_dump_json(), tokens, words)
    return forward * base_kind(config.base).steps


def work_lines(config: TrainConfig) -> Iterator[str]:
    """Hours and seconds on one H100, in words; nothing for a tiny base."""
    if not base_kind(config.base).full_size:
        return
    hours = training_operations(config) / (H100 * SHARE) / 3600
    seconds = image_operations(config) / (H100 * SHARE)
    yield (
        f"time on one H100, an estimate at {SHARE:.0%} of its {H100 / 1e12:.0f} TFLOP/s: "
        f"{hours:.0f} hours of training with everything cached, {seconds:.1f} s an image"
    )
