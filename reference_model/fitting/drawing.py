"""Draw b' with the base adapted to each analogy."""

from collections.abc import Sequence
from contextlib import nullcontext

from torch import Tensor

from reference_model.checkpoints.merging import merged
from reference_model.config import TrainConfig
from reference_model.fitting.adaptation import Adaptation
from reference_model.model.adapter import Adapter
from reference_model.model.panels import (
    decode_answer,
    encode_context,
    encode_negative,
    encode_words,
)
from reference_model.sampling import sample


def draw_answers(
    adapter: Adapter,
    config: TrainConfig,
    adaptation: Adaptation,
    panels: dict[str, Tensor],
    prompts: Sequence[str],
    seeds: Sequence[int],
    merge: bool = False,
) -> Tensor:
    """Sample b', uint8 (batch, 3, height, width), with the base adapted to each item.

    Args:
        adapter: a checkpoint on its base.
        config: its config.
        adaptation: what adapts the base, of a batch.
        panels: a, a_prime and b, uint8 (batch, 3, height, width) each.
        prompts: one for each item.
        seeds: of each item's noise.
        merge: merge the mix into the weights while a batch of one is sampled.
    """
    base = adapter.base
    stock = base.stock_sampler(config.layout)
    context = encode_context(base, config, panels)
    prompt = adaptation.extend(encode_words(base, config.layout, prompts, panels))
    negative = encode_negative(base, config.layout, panels)
    if negative is not None:
        negative = adaptation.extend(negative)
    mixed = merged(adapter.basis) if merge and len(seeds) == 1 else nullcontext()
    with adaptation.on(adapter), mixed:
        whole = base, context, prompt, list(seeds), base.sampling_steps
        tokens = stock(*whole) if stock else sample(*whole, negative=negative)
    return decode_answer(base, config.layout, tokens, context)
