"""The velocity of a token sequence, and Euler sampling with diffusers' flow-matching scheduler."""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux_kontext import calculate_shift
from torch import Tensor

from reference_model.model.base import Base
from reference_model.model.grid_layout import TokenSequence


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
    shape = (len(sequenced.target_ids), sequenced.context.shape[2])
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
    latents = torch.stack(noise).to(sequenced.context)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(base.scheduler.config)
    shift = {"mu": shift_of(shape[0], scheduler)} if scheduler.config.use_dynamic_shifting else {}
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
