"""Rectified flow: z_t = (1 - t) x_0 + t x_1 with noise x_1.

The model predicts the velocity x_1 - x_0.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from reference_model.model.grid_layout import TokenSequence


class Times(BaseModel):
    """How training times are drawn.

    A share at exactly 1 (pure noise), the rest uniform in [low, 1]; and how the loss weighs them.

    Weight `t2` turns the velocity's squared error into that of the clean image, which suits a base
    that predicts the image and few sampling steps. With `relative`, a sample's error is divided by
    the mean square of its change against the context under it, plus that floor: mild edits count.
    """

    model_config = ConfigDict(extra="forbid")
    share_at_one: Annotated[float, Field(ge=0, le=1)] = 0.0
    low: Annotated[float, Field(ge=0, le=1)] = 0.0
    weight: Literal["none", "t2"] = "none"
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
    if times.weight == "t2":
        error = error * t.square()
    if times.relative is None:
        return error.mean()
    change = (clean - sequenced.tokens_under).square().mean((1, 2)) + times.relative
    return (error.mean((1, 2)) / change).mean()
