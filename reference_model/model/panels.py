"""From panels in pixels to the token sequence that a base sees, and from its answer back."""

import torch
from torch import Tensor

from reference_model.bases.base import Base
from reference_model.config import TrainConfig
from reference_model.model.grid_layout import (
    CONTEXT,
    TARGET,
    Picture,
    TokenSequence,
    flatten_tokens,
    picture_pixels,
    token_sequence,
)

HIDDEN_LEVEL = 128  # of 255: mid-grey, zero for every codec


def hide_pair(panels: dict[str, Tensor]) -> dict[str, Tensor]:
    """The panels with mid-grey in place of a and a'."""
    grey = torch.full_like(panels["b"], HIDDEN_LEVEL)
    return {**panels, "a": grey, "a_prime": grey}


def encode_context(base: Base, config: TrainConfig, panels: dict[str, Tensor]) -> TokenSequence:
    """Encode the clean context of panels, uint8 (batch, 3, height, width) by role.

    A grid is encoded as the one picture that it is.
    """
    shrinks: dict[Picture, int] = {("a",): config.pair_shrink, ("a_prime",): config.pair_shrink}
    pictures = [
        base.codec.encode(picture_pixels(picture, panels), shrinks.get(picture, 1))
        for picture in CONTEXT[config.layout]
    ]
    return token_sequence(config.layout, pictures)


def encode_target(base: Base, layout: str, panels: dict[str, Tensor]) -> Tensor:
    """Encode what is predicted, b' or the whole grid, as tokens (batch, tokens, channels)."""
    return flatten_tokens(base.codec.encode(picture_pixels(TARGET[layout], panels)))


def answer_mask(layout: str, sequence: TokenSequence) -> Tensor:
    """Which target tokens (tokens) belong to b': all of them, or the grid's lower right quarter."""
    rows, columns = sequence.rows, sequence.columns
    if layout != "paper":
        return torch.ones(rows * columns, dtype=torch.bool)
    mask = torch.zeros(2 * rows, 2 * columns, dtype=torch.bool)
    mask[rows:, columns:] = True
    return mask.flatten()


def decode_answer(base: Base, layout: str, tokens: Tensor, sequence: TokenSequence) -> Tensor:
    """Decode predicted target tokens into b', uint8 (batch, 3, height, width).

    Of a grid it is the lower right quarter, cut out in pixels.
    """
    if layout != "paper":
        return base.codec.decode(tokens.unflatten(1, (sequence.rows, sequence.columns)))
    grid = base.codec.decode(tokens.unflatten(1, (2 * sequence.rows, 2 * sequence.columns)))
    return grid[..., grid.shape[2] // 2 :, grid.shape[3] // 2 :]
