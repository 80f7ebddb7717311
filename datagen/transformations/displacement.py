"""Where the pixels of a result come from, for transformations of kind geometry.

A geometric transformation is run on a picture whose colours are its own coordinates, and the
result says for each pixel where it was. So every family is covered, wrapping and mirroring ones
too, without a second description of what it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lorweb_bench.data.composition import steps_of

if TYPE_CHECKING:
    from datagen.transformations.catalogue import Library

KIND = "geometry"
# Families of other kinds that move pixels as well: nothing is said of where theirs come from.
MOVING = {
    *("polaroid", "film_strip", "stamp", "zoom_to", "double_exposure", "glitch", "water_mirror"),
    *("mirror_brighter", "swap_extremes", "pixel_sort", "frosted_glass", "strokes"),
    *("channel_shift", "half", "diagonal_half", "inside_circle", "outside_circle", "bands"),
    "checks",
}
SOLID = 250  # of 255: less of the picture's own pixels under a result's pixel is an edge
SMOOTH = 0.2  # between the four pixels about a node, in halves of the picture; more is a seam


def displacement(
    library: Library, spec: Mapping[str, Any] | None, side: int, spacing: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """How far the pixels of a square result have come, at nodes `spacing` pixels apart.

    Args:
        library: Runs the transformation.
        spec: The transformation; None, a copy, moves nothing.
        side: Of the square in pixels, at most 128.
        spacing: Between nodes, which lie in the middle of squares of that size.

    Returns:
        The place in the source less the place in the result, right and down, in halves of the
        side, float32 (2, side / spacing, side / spacing); and which nodes are known, 0 or 1.
        Unknown are nodes at seams, on what the transformation painted, and all of those that a
        family in `MOVING` may have moved.
    """
    nodes = side // spacing
    still = np.zeros((2, nodes, nodes), np.float32)
    steps = [] if spec is None else list(steps_of(spec))
    if any(step["family"] in MOVING for step in steps):
        return still, np.zeros((nodes, nodes), np.float32)
    moves = [step for step in steps if library.family(step["family"]).kind == KIND]
    if not moves:
        return still, np.ones((nodes, nodes), np.float32)
    places = _coordinates(side)
    for step in moves:
        places = library.apply(step, places)
    levels = 255 // (side - 1)  # of a coordinate per pixel
    moved = places[:, :, :2].astype(np.float32) - _coordinates(side)[:, :, :2]
    around = _around_nodes(moved * (2 / side / levels), spacing)
    solid = _around_nodes(places[:, :, 2:], spacing).min((0, 3)) > SOLID
    smooth = (around.max(0) - around.min(0)).max(2) < SMOOTH
    return around.mean(0).transpose(2, 0, 1), (solid & smooth).astype(np.float32)


@lru_cache(maxsize=4)
def _coordinates(side: int) -> np.ndarray:
    """A read-only square picture, uint8: each pixel's column, its row, and 255."""
    rows, columns = np.mgrid[:side, :side] * (255 // (side - 1))
    picture = np.stack([columns, rows, np.full_like(rows, 255)], 2).astype(np.uint8)
    picture.flags.writeable = False
    return picture


def _around_nodes(values: np.ndarray, spacing: int) -> np.ndarray:
    """The four pixels about each node: (4, rows, columns, channels) of (side, side, channels)."""
    first, second = spacing // 2 - 1, spacing // 2
    corners = [(i, j) for i in (first, second) for j in (first, second)]
    return np.stack([values[i::spacing, j::spacing] for i, j in corners])
