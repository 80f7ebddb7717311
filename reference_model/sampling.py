"""The velocity of a token sequence, and Euler sampling with diffusers' flow-matching scheduler."""

from collections.abc import Callable

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from lorweb_bench.runtime.progress import track
from reference_model.bases.base import Base, Prompt
from reference_model.model.grid_layout import TokenSequence


def predict_velocity(
    base: Base,
    noisy: Tensor,
    sequenced: TokenSequence,
    time: Tensor,
    prompt: Prompt,
    guidance: float = 1.0,
) -> Tensor:
    """Velocity (batch, target tokens, channels), in float32, of the noisy target tokens.

    `time` (batch) runs from 1 (noise) to 0 (image); `prompt` holds prompt tokens (batch, n, width)
    and pooled vectors (batch, width). `guidance` is told to a guidance-distilled transformer alone.
    """
    velocity = base.velocity(noisy, sequenced, time, prompt, guidance)
    return velocity[:, : noisy.shape[1]].float()


def sample(
    base: Base,
    sequenced: TokenSequence,
    prompt: Prompt,
    seeds: list[int],
    steps: int,
    velocity_at: Callable[[Tensor, Tensor, Prompt], Tensor] | None = None,
    negative: Prompt | None = None,
) -> Tensor:
    """Predicted clean target tokens (batch, target tokens, channels).

    Each sample's noise is drawn from its own seed.

    `velocity_at` gives the velocity of noisy tokens at times (batch) for a prompt, where the base's
    own forward pass is not to be called. `negative` is the prompt that guidance leads away from.
    """

    def plain(noisy: Tensor, time: Tensor, words: Prompt) -> Tensor:
        return predict_velocity(base, noisy, sequenced, time, words, base.guidance)

    velocity_of = velocity_at or plain
    latents = base.draw_noise(sequenced, seeds).to(sequenced.context)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(base.scheduler.config)
    mu = base.shift(latents.shape[1], steps)
    shift = {"mu": mu} if scheduler.config.use_dynamic_shifting else {}
    scheduler.set_timesteps(
        sigmas=np.linspace(1.0, 1 / steps, steps), device=latents.device, **shift
    )
    times = zip(scheduler.sigmas[:-1], scheduler.timesteps, strict=True)
    for sigma, timestep in track(times, steps, "sampling"):
        time = sigma.expand(len(latents)).to(latents)
        velocity = velocity_of(latents, time, prompt)
        if negative is not None:
            velocity = base.guide(velocity, velocity_of(latents, time, negative))
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
    return latents
