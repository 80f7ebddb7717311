"""The velocity of a token sequence, and Euler sampling with diffusers' flow-matching scheduler."""

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from reference_model.base import Base
from reference_model.grid import Sequenced


def velocity_of(base: Base, noisy: Tensor, sequenced: Sequenced, time: Tensor, prompt: tuple[Tensor, Tensor]) -> Tensor:
    """Velocity (batch, target tokens, channels) of the noisy target tokens.

    `time` (batch) runs from 1 (noise) to 0 (image); `prompt` holds prompt tokens (batch, n, width) and pooled vectors (batch, width).
    """
    tokens, pooled = prompt
    velocity: Tensor = base.transformer(
        hidden_states=torch.cat([noisy, sequenced.context], 1),
        encoder_hidden_states=tokens,
        pooled_projections=pooled,
        timestep=time,
        img_ids=sequenced.ids.to(noisy.device),
        txt_ids=torch.zeros(tokens.shape[1], 3, device=noisy.device),
        return_dict=False,
    )[0]
    return velocity[:, : noisy.shape[1]]


def sample(base: Base, sequenced: Sequenced, prompt: tuple[Tensor, Tensor], seeds: list[int], steps: int) -> Tensor:
    """Predicted clean target tokens (batch, target tokens, channels); each sample's noise is drawn from its own seed."""
    shape = (len(sequenced.target_ids), sequenced.context.shape[2])
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
    latents = torch.stack(noise).to(sequenced.context)
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), device=latents.device)
    for sigma, timestep in zip(scheduler.sigmas[:-1], scheduler.timesteps, strict=True):
        time = sigma.expand(len(latents)).to(latents)
        velocity = velocity_of(base, latents, sequenced, time, prompt)
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
    return latents
