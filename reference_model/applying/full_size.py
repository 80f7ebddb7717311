"""An answer at the photograph's own size, where the base says what is done to b's pixels.

A base with an operator predicts an edit on a small panel. The same edit is then done to b as it is,
so b keeps its details. Other bases draw the panel itself, which is enlarged.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorweb_bench.data.images import resize
from reference_model.bases.base import Base
from reference_model.bases.tiny import OperatorFlux

MOST_PIXELS = (
    12_000_000  # of a picture that is edited at its own size; larger ones are shrunk to it
)


@dataclass(frozen=True)
class Edit:
    """What a base's operator was last told: numbers of its tokens, and the panel they are for."""

    numbers: Tensor
    before: Tensor
    rows: int
    columns: int


@contextmanager
def remembered_edits(base: Base) -> Iterator[list[Edit]]:
    """Collects the edits of a base with an operator while it draws; of another base none."""
    edits: list[Edit] = []
    if not isinstance(base.transformer, OperatorFlux):
        yield edits
        return
    operator = base.transformer.operator
    hook = operator.register_forward_hook(lambda _module, told, _result: edits.append(Edit(*told)))
    try:
        yield edits
    finally:
        hook.remove()


def at_own_size(
    base: Base, edits: Sequence[Edit], weights: Sequence[float], b: Image.Image
) -> np.ndarray:
    """b edited at its own size, uint8 (height, width, 3).

    Args:
        base: A base with an operator.
        edits: One or several edits of b, a batch of one each.
        weights: Of their results; they sum to 1.
        b: The picture, of any size.
    """
    assert isinstance(base.transformer, OperatorFlux)
    width, height = b.size
    shrink = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    pixels = np.asarray(b.convert("RGB"))
    if size != b.size:
        pixels = resize(pixels, size)
    device = edits[0].numbers.device
    large = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None] / 127.5 - 1
    edited = torch.zeros_like(large)
    for edit, weight in zip(edits, weights, strict=True):
        operator, told = base.transformer.operator, (edit.rows, edit.columns)
        edited += weight * operator.enlarge(edit.numbers, edit.before.float(), large, *told)
    levels = ((edited[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    answer: np.ndarray = levels.permute(1, 2, 0).cpu().numpy()
    return answer if size == b.size else resize(answer, b.size)
