"""Start a base or a pair encoder from one for smaller panels, whose tokens are smaller patches.

Both see the same grid of tokens, so the network between input and output is taken as it is. The
layers at its ends are widened: a larger patch is first read as the means of its small blocks, and
what was predicted for a small patch is drawn enlarged. So what the first one knows holds from the
start, at its own sharpness, and training goes on from there. Growing a network while it is trained
is the idea of Karras et al. (arXiv 1710.10196).
"""

import torch
from torch import Tensor

from lorweb_bench.errors import InputError
from reference_model.bases.tiny import OperatorFlux, TinyBase, TinyTextEncoder, patch_side
from reference_model.model.encoder import PairEncoder
from reference_model.model.operator import PATCH

PLACES = 16  # input channels that say where a token lies


def grow_base(first: TinyBase, base: TinyBase) -> None:
    """Give a base with an operator the weights of one of smaller patches.

    Args:
        first: The base to start from, whose tokens predict the change of their patch.
        base: The base to start, of the same transformer between its ends.

    Raises:
        InputError: The transformers differ between their ends.
    """
    assert isinstance(base.transformer, OperatorFlux)
    side = patch_side(dict(first.transformer.config))
    old, new = first.transformer.state_dict(), base.transformer.state_dict()
    own = ("x_embedder.weight", "proj_out.", "operator.")
    between = {name for name in (*old, *new) if not name.startswith(own)}
    for name in sorted(between):
        if name not in old or name not in new or new[name].shape != old[name].shape:
            raise InputError(f"start: its transformer has another shape ({name})")
        new[name].copy_(old[name])
    pixels = 3 * side**2
    after, before, places = old["x_embedder.weight"].split([pixels, pixels, PLACES], 1)
    # Means over blocks damp noise, which is all that is after at first, by the blocks' side.
    widened = [widen_input(after, side, 3) * (PATCH / side), widen_input(before, side, 3), places]
    new["x_embedder.weight"].copy_(torch.cat(widened, 1))
    drawn = drawing_rows(base.transformer)
    for name in ("proj_out.weight", "proj_out.bias"):
        new[name][drawn] = enlarge(old[name], side, base.transformer.operator.window)
    grow_text_encoder(first.text_encoder, base.text_encoder)


def grow_text_encoder(first: TinyTextEncoder, encoder: TinyTextEncoder) -> None:
    """Give a text encoder the weights of another one, and its vectors of the words both know."""
    old, new = first.state_dict(), encoder.state_dict()
    for name, weight in old.items():
        if name != "words.weight":
            new[name].copy_(weight)
    unnamed = len(first.words.weight) - len(first.vocabulary)  # padding, unknown, number
    new["words.weight"][:unnamed] = old["words.weight"][:unnamed]
    for word, row in encoder.index.items():
        if word in first.index:
            new["words.weight"][row] = old["words.weight"][first.index[word]]


def grow_pair_encoder(first: PairEncoder, encoder: PairEncoder) -> None:
    """Give a pair encoder of larger patches the weights of another one, less those that name."""
    old, new = first.state_dict(), encoder.state_dict()
    for name, weight in old.items():
        if name == "look.1.weight":
            channels = 2 * 3
            new[name].copy_(widen_input(weight.flatten(1), first.patch, channels)[..., None, None])
        elif new[name].shape == weight.shape:
            new[name].copy_(weight)


def widen_input(weights: Tensor, side: int, channels: int) -> Tensor:
    """Weights (out, channels * PATCH²) that read a patch as the means of its blocks.

    Args:
        weights: For patches of `side` pixels, (out, channels * side²).
        side: A divisor of `PATCH`.
        channels: Colours of a pixel.
    """
    factor = PATCH // side
    grid = weights.unflatten(1, (channels, side, side)) / factor**2
    return grid.repeat_interleave(factor, 2).repeat_interleave(factor, 3).flatten(1)


def enlarge(rows: Tensor, side: int, window: int) -> Tensor:
    """Rows (3 * window²) that draw in a window what `rows` (3 * side²) drew in a small patch."""
    margin = (window - PATCH) // 2
    place = (torch.arange(window) - margin).clamp(0, PATCH - 1) // (PATCH // side)
    return rows.unflatten(0, (3, side, side))[:, place][:, :, place].flatten(0, 2)


def drawing_rows(transformer: OperatorFlux) -> slice:
    """The outputs of a token that are the colours of its window; before them comes the mask."""
    operator = transformer.operator
    return slice(operator.outputs - 3 * operator.window**2, operator.outputs)
