"""Rectified flow: z_t = (1 - t) x_0 + t x_1 with noise x_1.

The model predicts the velocity x_1 - x_0.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from reference_model.model.grid_layout import TokenSequence


class Times(BaseModel):
    """How training times are drawn.

    A share at exactly 1 (pure noise), the rest uniform in [low, 1]; and how the loss weighs them.

    Weight `t2` turns the velocity's squared error into that of the clean image, which suits a base
    that predicts the image and few sampling steps; `ai-toolkit` is `trainer_weight`. With
    `relative`, a sample's error is divided by the mean square of its change against the context
    under it, plus that floor: mild edits count.
    """

    model_config = ConfigDict(extra="forbid")
    share_at_one: Annotated[float, Field(ge=0, le=1)] = 0.0
    low: Annotated[float, Field(ge=0, le=1)] = 0.0
    weight: Literal["none", "t2", "ai-toolkit"] = "none"
    relative: Annotated[float, Field(gt=0)] | None = None


def draw_times(times: Times, count: int, generator: torch.Generator) -> Tensor:
    """`count` training times in (0, 1]."""
    drawn = times.low + (1 - times.low) * (1 - torch.rand(count, generator=generator))
    drawn[torch.rand(count, generator=generator) < times.share_at_one] = 1.0
    return drawn


def draw(times: Times, shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Times (batch) and noise of `shape` (batch, tokens, channels) for a batch.

    `generator` draws all.
    """
    time = draw_times(times, shape[0], generator)
    return time, torch.randn(*shape, generator=generator)


# The weights of AI-Toolkit's `timestep_type: weighted`, which its author measured on another flow
# model (ostris/ai-toolkit, default_weighing_scheme): time and weight, read off at these points.
TRAINER_WEIGHTS = (
    *((0.0, 0.447), (0.015, 0.457), (0.04, 0.535), (0.07, 0.645), (0.1, 0.713), (0.13, 0.7325)),
    *((0.17, 0.724), (0.22, 0.714), (0.28, 0.721), (0.334, 0.75), (0.4, 0.808), (0.46, 0.872)),
    *((0.524, 0.957), (0.55, 1.0), (0.82, 1.488), (0.873, 1.522), (0.9, 1.503), (0.92, 1.476)),
    *((0.94, 1.413), (0.96, 1.33), (0.98, 1.176), (0.99, 1.043), (1.0, 0.906)),
)


def trainer_weight(time: Tensor) -> Tensor:
    """The weight that AI-Toolkit, the trainer of LoRWeB's authors, gives the loss at a time.

    It is largest, 1.52, near t = .87 and falls to .45 at t = 0; straight lines run between the
    points that were read off its table.

    >>> trainer_weight(torch.tensor([0.55, 1.0]))
    tensor([1.0000, 0.9060])
    """
    times, weights = zip(*TRAINER_WEIGHTS, strict=True)
    values = np.interp(time.detach().cpu().numpy(), times, weights)
    return torch.from_numpy(values).to(time)


def weighed(error: Tensor, t: Tensor, times: Times) -> Tensor:
    """Squared errors (batch, tokens, channels) at times (batch, 1, 1), as the loss weighs them."""
    if times.weight == "t2":
        return error * t.square()
    return error * trainer_weight(t) if times.weight == "ai-toolkit" else error


def flow_loss(
    predict_velocity: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    sequenced: TokenSequence,
    drawn: tuple[Tensor, Tensor],
    times: Times,
) -> Tensor:
    """Mean loss of predicting the velocity of `clean` (batch, target tokens, channels) at drawn
    times and noise.

    `predict_velocity` gives the velocity of noisy tokens at times (batch).
    """
    time, noise = (x.to(clean) for x in drawn)
    t = time.view(-1, 1, 1)
    velocity = predict_velocity((1 - t) * clean + t * noise, time)
    error = (velocity.float() - (noise - clean)).square()
    error = weighed(error, t, times)
    if times.relative is None:
        return error.mean()
    change = (clean - sequenced.tokens_under).square().mean((1, 2)) + times.relative
    return (error.mean((1, 2)) / change).mean()
