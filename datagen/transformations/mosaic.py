"""Kind mosaic: the picture cut into cells of one colour each.

Lengths are pixels at a short side of 64 px.
"""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import NAMED_COLOUR, grid, paint, pattern, pixels
from datagen.transformations.declaration import PIXELS, SEED, Parameter, family, presets

KIND = "mosaic"
SIZE = Parameter("width of a cell", 2, 32, unit=PIXELS)


def _number(*parts: np.ndarray) -> np.ndarray:
    """Integer coordinates of cells, H x W each, as one cell number per pixel counted from 0."""
    stacked = np.stack([part.astype(np.int64).ravel() for part in parts])
    lowest = stacked.min(1)
    numbers = np.ravel_multi_index(
        tuple(stacked - lowest[:, None]), tuple(stacked.max(1) - lowest + 1)
    )
    return np.unique(numbers, return_inverse=True)[1].reshape(parts[0].shape)


def _means(image: np.ndarray, cells: np.ndarray) -> np.ndarray:
    flat = cells.ravel()
    counts = np.bincount(flat)
    means = np.stack(
        [np.bincount(flat, image[..., channel].ravel()) / counts for channel in range(3)], 1
    )
    return np.rint(means).astype(np.uint8)[cells]


def _nearest(height: int, width: int, points: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    x, y = grid(height, width)
    return cKDTree(points).query(np.stack([x.ravel(), y.ravel()], 1))[1].reshape(height, width)


@pattern
def _hexagons(height: int, width: int, size: float) -> np.ndarray:
    step = size * np.sqrt(3) / 2
    rows = np.arange(-1, height / step + 2)
    columns = np.arange(-1, width / size + 2)
    x = columns[None] * size + (rows[:, None] % 2) * size / 2
    points = np.stack([x.ravel(), np.repeat(rows * step, len(columns))], 1)
    return _number(_nearest(height, width, points))


@pattern
def _triangles(height: int, width: int, size: float) -> np.ndarray:
    x, y = grid(height, width)
    directions = [np.radians(angle) for angle in (90, 210, 330)]
    return _number(
        *[np.floor((x * np.cos(angle) + y * np.sin(angle)) / size + 0.37) for angle in directions]
    )


@pattern
def _crystals(height: int, width: int, size: float, seed: int) -> np.ndarray:
    rows, columns = np.mgrid[-1 : height / size + 1, -1 : width / size + 1]
    spread = np.random.default_rng(seed).uniform(0, 1, (2, *rows.shape))
    points = np.stack(
        [((columns + spread[0]) * size).ravel(), ((rows + spread[1]) * size).ravel()], 1
    )
    return _number(_nearest(height, width, points))


@pattern
def _bricks(height: int, width: int, size: int) -> np.ndarray:
    x, y = grid(height, width)
    rows = np.floor(y / size)
    return _number(rows, np.floor((x + (rows % 2) * size) / (2 * size)))


def _joints(image: np.ndarray, cells: np.ndarray, joint: str) -> np.ndarray:
    edge = np.zeros(cells.shape, np.uint8)
    edge[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    edge[1:] |= cells[1:] != cells[:-1]
    wide = pixels(image, 1)
    if wide > 1:
        edge = cv2.dilate(edge, np.ones((wide, wide), np.uint8))
    return paint(_means(image, cells), edge > 0, joint)


@family(
    "pixelate",
    kind=KIND,
    presets=presets("size", 4, 6, 8, 12, 16),
    size=SIZE,
    instruction="pixelate the picture into blocks of {size} of the short side",
    in_pixels="pixelate the picture into blocks of {size} pixels",
)
def pixelate(image: np.ndarray, size: float) -> np.ndarray:
    """Average the picture in square blocks."""
    height, width = image.shape[:2]
    block = pixels(image, size, 2)
    small = cv2.resize(
        image,
        (max(1, round(width / block)), max(1, round(height / block))),
        interpolation=cv2.INTER_AREA,
    )
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


@family(
    "hexagons",
    kind=KIND,
    presets=presets("size", 5, 8, 12),
    size=SIZE,
    instruction="turn the picture into hexagons of {size} of the short side",
    in_pixels="turn the picture into hexagons of {size} pixels",
)
def hexagons(image: np.ndarray, size: float) -> np.ndarray:
    """Average the picture in hexagons."""
    return _means(image, _hexagons(*image.shape[:2], pixels(image, size, 3)))


@family(
    "triangles",
    kind=KIND,
    presets=presets("size", 6, 9, 14),
    size=SIZE,
    instruction="turn the picture into triangles of {size} of the short side",
    in_pixels="turn the picture into triangles of {size} pixels",
)
def triangles(image: np.ndarray, size: float) -> np.ndarray:
    """Average the picture in triangles."""
    return _means(image, _triangles(*image.shape[:2], pixels(image, size, 3)))


@family(
    "crystals",
    kind=KIND,
    presets=presets("size seed", (6, 1), (9, 1), (14, 1)),
    size=SIZE,
    seed=SEED,
    instruction="turn the picture into irregular crystals of {size} of the short side, "
    "pattern {seed}",
    in_pixels="turn the picture into irregular crystals of {size} pixels, pattern {seed}",
)
def crystals(image: np.ndarray, size: float, seed: int) -> np.ndarray:
    """Average the picture in the cells around scattered points."""
    return _means(image, _crystals(*image.shape[:2], pixels(image, size, 3), seed))


@family(
    "stained_glass",
    kind=KIND,
    presets=presets("size lead", (9, "black"), (14, "black"), (9, "white"), (14, "white")),
    size=SIZE,
    lead=NAMED_COLOUR,
    instruction="turn the picture into stained glass pieces of {size} of the short side "
    "with {lead} leads",
    in_pixels="turn the picture into stained glass of {size} pixel pieces with {lead} leads",
)
def stained_glass(image: np.ndarray, size: float, lead: str) -> np.ndarray:
    """Average the picture in irregular cells with leads between them."""
    return _joints(image, _crystals(*image.shape[:2], pixels(image, size, 3), 7), lead)


@family(
    "brickwork",
    kind=KIND,
    presets=presets("size joint", (5, "gray"), (8, "gray"), (5, "white"), (8, "white")),
    size=SIZE,
    joint=NAMED_COLOUR,
    instruction="build the picture from bricks as high as {size} of the short side with "
    "{joint} joints",
    in_pixels="build the picture from bricks {size} pixels high with {joint} joints",
)
def brickwork(image: np.ndarray, size: float, joint: str) -> np.ndarray:
    """Average the picture in bricks with joints between them."""
    return _joints(image, _bricks(*image.shape[:2], pixels(image, size, 3)), joint)


@pattern
def _outside_of_discs(height: int, width: int, block: int) -> np.ndarray:
    """Whether pixels lie outside of the disc in their square block, H x W."""
    x, y = grid(height, width)
    across, down = ((places % block + 0.5) / block - 0.5 for places in (x, y))
    return np.hypot(across, down) >= 0.46


@family(
    "discs",
    kind=KIND,
    presets=presets(
        "size ground",
        (5, "black"),
        (8, "black"),
        (12, "black"),
        (5, "white"),
        (8, "white"),
        (12, "white"),
    ),
    size=SIZE,
    ground=NAMED_COLOUR,
    instruction="draw the picture in round dots of {size} of the short side on {ground}",
    in_pixels="draw the picture in round dots of {size} pixels on {ground}",
)
def discs(image: np.ndarray, size: float, ground: str) -> np.ndarray:
    """Average the picture in square blocks and show each as a disc."""
    height, width = image.shape[:2]
    block = pixels(image, size, 3)
    small = cv2.resize(
        image, (-(-width // block), -(-height // block)), interpolation=cv2.INTER_AREA
    )
    means = np.repeat(np.repeat(small, block, 0), block, 1)[:height, :width]
    return paint(means, _outside_of_discs(height, width, block), ground)
