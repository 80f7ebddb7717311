"""From panels in pixels to the token sequence that a base sees, and from its answer back."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lorweb_bench.errors import InputError
from reference_model.bases.base import Base, Prompt
from reference_model.config import TrainConfig
from reference_model.model.grid_layout import (
    CONTEXT,
    TARGET,
    Picture,
    TokenSequence,
    flatten_tokens,
    picture_pixels,
    position_ids,
    token_sequence,
)
from reference_model.model.working_size import predicted_size, resized_grids, shown_size

MEGAPIXEL_BASE = "flux-kontext"


class Encoders(Protocol):
    """What turns words into a prompt."""

    text_encoder: Any

    @property
    def sees_pictures(self) -> bool:
        """Whether the text encoder is shown the context's pictures."""
        ...


HIDDEN_LEVEL = 128  # of 255: mid-grey, zero for every codec


def hide_pair(panels: dict[str, Tensor], hidden: Tensor | None = None) -> dict[str, Tensor]:
    """The panels with mid-grey in place of a and a'.

    Args:
        panels: uint8 (batch, 3, height, width) by role.
        hidden: bool (batch), the samples that it is done to; None: to all.
    """
    grey = torch.full_like(panels["b"], HIDDEN_LEVEL)
    if hidden is None:
        return {**panels, "a": grey, "a_prime": grey}
    where = hidden[:, None, None, None]
    pair = {role: torch.where(where, grey, panels[role]) for role in ("a", "a_prime")}
    return {**panels, **pair}


def encode_context(base: Base, config: TrainConfig, panels: dict[str, Tensor]) -> TokenSequence:
    """Encode the clean context of panels, uint8 (batch, 3, height, width) by role.

    A grid is encoded as the one picture that it is, at the authors' working size at a size of its
    own.
    """
    if config.working_size == "megapixel":
        return _megapixel_context(base, panels)
    shrinks: dict[Picture, int] = {("a",): config.pair_shrink, ("a_prime",): config.pair_shrink}
    pictures = [
        base.codec.encode(picture_pixels(picture, panels), shrinks.get(picture, 1))
        for picture in CONTEXT[config.layout]
    ]
    return token_sequence(config.layout, pictures)


def _megapixel_context(base: Base, panels: dict[str, Tensor]) -> TokenSequence:
    """The context and the positions of a grid that is predicted at one megapixel."""
    grids = picture_pixels(CONTEXT["paper"][0], panels)
    multiple = _multiple(base)
    height, width = grids.shape[2:]
    tokens = base.codec.encode(resized_grids(grids, shown_size(width, height, multiple)))
    columns, rows = (side // multiple for side in predicted_size(width, height, multiple))
    return TokenSequence(
        flatten_tokens(tokens),
        position_ids(0, rows, columns),
        position_ids(1, *tokens.shape[1:3]),
        rows // 2,
        columns // 2,
        ((tokens.shape[1], tokens.shape[2]),),
    )


def _multiple(base: Base) -> int:
    """What the sides of a grid of one megapixel are multiples of; InputError on other bases."""
    if base.kind != MEGAPIXEL_BASE:
        raise InputError(
            f"working_size megapixel: it is FLUX.1-Kontext's, and the base `{base.name}` is "
            "another one; set `working_size: panel`"
        )
    patch: int = base.codec.patch
    return patch


def encode_target(base: Base, config: TrainConfig, panels: dict[str, Tensor]) -> Tensor:
    """Encode what is predicted, b' or the whole grid, as tokens (batch, tokens, channels)."""
    pixels = picture_pixels(TARGET[config.layout], panels)
    if config.working_size == "megapixel":
        height, width = pixels.shape[2:]
        pixels = resized_grids(pixels, predicted_size(width, height, _multiple(base)))
    return flatten_tokens(base.codec.encode(pixels))


def encode_words(
    encoders: Encoders, layout: str, prompts: Sequence[str], panels: dict[str, Tensor]
) -> Prompt:
    """Encode one prompt for each sample, beside the context's pictures where the base sees them.

    Args:
        encoders: a base, or the frozen parts of a training.
        layout: says which pictures these are.
        prompts: one for each sample; a single one stands for all.
        panels: uint8 (batch, 3, height, width) by role.
    """
    texts = list(prompts) * (len(panels["b"]) if len(prompts) == 1 else 1)
    if not encoders.sees_pictures:
        words: Prompt = encoders.text_encoder(texts)
        return words
    pictures = [picture_pixels(picture, panels) for picture in CONTEXT[layout]]
    seen: Prompt = encoders.text_encoder(texts, pictures)
    return seen


def encode_negative(base: Base, layout: str, panels: dict[str, Tensor]) -> Prompt | None:
    """Encode what guidance leads away from; None where the base is not guided."""
    if not base.is_guided or base.negative_prompt is None:
        return None
    return encode_words(base, layout, [base.negative_prompt], panels)


def answer_mask(layout: str, sequence: TokenSequence) -> Tensor:
    """Which target tokens (tokens) belong to b': all of them, or the grid's lower right quarter."""
    rows, columns = sequence.target_size
    if layout != "paper":
        return torch.ones(rows * columns, dtype=torch.bool)
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    mask[rows // 2 :, columns // 2 :] = True
    return mask.flatten()


def decode_answer(base: Base, layout: str, tokens: Tensor, sequence: TokenSequence) -> Tensor:
    """Decode predicted target tokens into b', uint8 (batch, 3, height, width).

    Of a grid it is the lower right quarter, cut out in pixels.
    """
    grid = base.codec.decode(tokens.unflatten(1, sequence.target_size))
    if layout != "paper":
        return grid
    return grid[..., grid.shape[2] // 2 :, grid.shape[3] // 2 :]
