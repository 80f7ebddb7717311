"""Rectified flow: z_t = (1 - t) x_0 + t x_1 with noise x_1; the model predicts the velocity x_1 - x_0."""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from reference_model.base import Base
from reference_model.grid import Sequenced
from reference_model.sampling import velocity_of


class Times(BaseModel):
    """How training times are drawn: a share at exactly 1 (pure noise), the rest uniform in [low, 1]; and how the loss weighs them.

    Weight `t2` turns the velocity's squared error into that of the clean image, which suits a base that predicts the image and few sampling
    steps. With `relative`, a sample's error is divided by the mean square of its change against the context under it, plus that floor:
    mild edits count.
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


def flow_loss(
    base: Base, clean: Tensor, sequenced: Sequenced, prompt: tuple[Tensor, Tensor], times: Times, generator: torch.Generator
) -> Tensor:
    """Mean loss of predicting the velocity of `clean` (batch, target tokens, channels) at drawn times; `generator` draws all."""
    time = draw_times(times, len(clean), generator).to(clean.device)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    t = time.view(-1, 1, 1)
    velocity = velocity_of(base, (1 - t) * clean + t * noise, sequenced, time, prompt)
    error = (velocity.float() - (noise - clean)).square()
    if times.weight == "t2":
        error = error * t.square()
    if times.relative is None:
        return error.mean()
    change = (clean - sequenced.context[:, : clean.shape[1]]).square().mean((1, 2)) + times.relative
    return (error.mean((1, 2)) / change).mean()
