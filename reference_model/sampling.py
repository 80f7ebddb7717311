"""The velocity of a token sequence, and Euler sampling with diffusers' flow-matching scheduler."""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux_kontext import calculate_shift
from torch import Tensor
from torch.nn import functional as F

from reference_model.model.base import Base
from reference_model.model.flux import VaeCodec
from reference_model.model.grid_layout import TokenSequence
from reference_model.seeding import seeded


def predict_velocity(
    base: Base,
    noisy: Tensor,
    sequenced: TokenSequence,
    time: Tensor,
    prompt: tuple[Tensor, Tensor],
    guidance: float = 1.0,
) -> Tensor:
    """Velocity (batch, target tokens, channels), in float32, of the noisy target tokens.

    `time` (batch) runs from 1 (noise) to 0 (image); `prompt` holds prompt tokens (batch, n, width)
    and pooled vectors (batch, width). `guidance` is told to a guidance-distilled transformer alone.
    """
    transformer = base.transformer
    dtype = transformer.dtype
    tokens, pooled = (x.to(dtype) for x in prompt)
    velocity: Tensor = transformer(
        hidden_states=torch.cat([noisy, sequenced.context], 1).to(dtype),
        encoder_hidden_states=tokens,
        pooled_projections=pooled,
        timestep=time.to(dtype),
        img_ids=sequenced.ids.to(noisy.device),
        txt_ids=torch.zeros(tokens.shape[1], 3, device=noisy.device),
        guidance=torch.full_like(time, guidance) if transformer.config.guidance_embeds else None,
        return_dict=False,
    )[0]
    return velocity[:, : noisy.shape[1]].float()


def shift_of(tokens: int, scheduler: FlowMatchEulerDiscreteScheduler) -> float:
    """How far the times of a sequence of target tokens are shifted towards noise, as the pipeline
    does.
    """
    keys = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    return float(calculate_shift(tokens, *(scheduler.config[key] for key in keys)))


def draw_noise(base: Base, sequenced: TokenSequence, seeds: list[int]) -> Tensor:
    """Noise (batch, target tokens, channels), each sample's from its own seed.

    On a FLUX base it is what diffusers' pipeline draws of `torch.Generator("cpu")` with the seed:
    latents in the type of the weights, then cut into tokens.
    """
    tokens, channels = len(sequenced.target_ids), sequenced.context.shape[2]
    if not isinstance(base.codec, VaeCodec):
        return torch.stack([torch.randn(tokens, channels, generator=seeded(s)) for s in seeds])
    rows, columns = sequenced.target_size
    shape = (channels // 4, 2 * rows, 2 * columns)
    dtype = base.transformer.dtype
    latents = [torch.randn(shape, generator=seeded(s), dtype=dtype) for s in seeds]
    return F.pixel_unshuffle(torch.stack(latents), 2).flatten(2).mT


def sample(
    base: Base,
    sequenced: TokenSequence,
    prompt: tuple[Tensor, Tensor],
    seeds: list[int],
    steps: int,
    velocity_at: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Predicted clean target tokens (batch, target tokens, channels).

    Each sample's noise is drawn from its own seed.

    `velocity_at` gives the velocity of noisy tokens at times (batch), where the base's own forward
    pass is not to be called.
    """
    latents = draw_noise(base, sequenced, seeds).to(sequenced.context)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(base.scheduler.config)
    shift = (
        {"mu": shift_of(latents.shape[1], scheduler)}
        if scheduler.config.use_dynamic_shifting
        else {}
    )
    scheduler.set_timesteps(
        sigmas=np.linspace(1.0, 1 / steps, steps), device=latents.device, **shift
    )
    for sigma, timestep in zip(scheduler.sigmas[:-1], scheduler.timesteps, strict=True):
        time = sigma.expand(len(latents)).to(latents)
        velocity = (
            velocity_at(latents, time)
            if velocity_at
            else predict_velocity(base, latents, sequenced, time, prompt, base.guidance)
        )
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
    return latents
