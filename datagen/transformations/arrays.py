"""What several kinds share: colours, coordinates, luma, blending, remapping.

Images are uint8 RGB, H x W x 3.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import cv2
import numpy as np
from cachetools import LRUCache, cached

from datagen.transformations.declaration import REFERENCE, Parameter

Pattern = TypeVar("Pattern", np.ndarray, tuple[np.ndarray, np.ndarray])
PATTERN_BYTES = 128 * 2**20  # of patterns that a process keeps

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "gray": (128, 128, 128),
    "red": (225, 35, 40),
    "orange": (245, 140, 20),
    "yellow": (250, 220, 30),
    "green": (40, 165, 70),
    "cyan": (30, 200, 215),
    "blue": (35, 75, 215),
    "navy": (15, 25, 80),
    "purple": (120, 45, 170),
    "magenta": (225, 40, 180),
    "pink": (250, 160, 190),
    "brown": (115, 70, 35),
    "cream": (250, 240, 215),
}

NAMED_COLOUR = Parameter("a named colour", choices=tuple(COLOURS))
AXES = {"horizontal": 1, "vertical": 0}  # axes of an array, height x width
AXIS = Parameter("direction", choices=tuple(AXES))
LINES = {"columns": 1, "rows": 0}  # axes along which columns and rows follow each other
LINE = Parameter("what the picture is cut into", choices=tuple(LINES))
CORNERS = {
    "top left": (0, 0),
    "top right": (1, 0),
    "bottom left": (0, 1),
    "bottom right": (1, 1),
}  # shares of width and height


def _nbytes(pattern: Any) -> int:
    return pattern.nbytes if isinstance(pattern, np.ndarray) else sum(map(_nbytes, pattern))


_PATTERNS: LRUCache[Any, Any] = LRUCache(PATTERN_BYTES, getsizeof=_nbytes)
_LOCK = threading.Lock()


def pattern(function: Callable[..., Pattern]) -> Callable[..., Pattern]:
    """Decorate a function whose result the image's size and parameters alone decide on.

    The last results of all such functions are kept, 128 MiB of them together, as images of one size
    follow one another. They are read-only.

    Args:
        function: It takes height, width and parameters, all hashable, and gives one array or two.
    """

    # Arithmetic with a float of NumPy's gives other types than with one of Python's.
    @cached(_PATTERNS, key=lambda *values: (function, *values, *map(type, values)), lock=_LOCK)
    @functools.wraps(function)
    def remembered(*values: Any) -> Pattern:
        """What the function gives, read-only."""
        result = function(*values)
        for array in (result,) if isinstance(result, np.ndarray) else result:
            array.flags.writeable = False
        return result

    return remembered


def pixels(image: np.ndarray, length: float, least: int = 1) -> int:
    """A length given in pixels at a short side of 64, in whole pixels of this image.

    It is at least `least`.
    """
    return max(least, round(length * min(image.shape[:2]) / REFERENCE))


def odd(image: np.ndarray, length: float, least: int = 3) -> int:
    """As `pixels`, but an odd number, as the sizes of filter windows have to be."""
    return max(least, 2 * round((length * min(image.shape[:2]) / REFERENCE - 1) / 2) + 1)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Levels rounded and clipped to 0-255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def luma(image: np.ndarray) -> np.ndarray:
    """The Rec. 601 luma, uint8 H x W."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def gradient_magnitude(values: np.ndarray) -> np.ndarray:
    """The magnitude of the Sobel gradient of levels, float32 of the same shape.

    cv2.magnitude would do, but its last bit depends on where the array lies in memory.
    """
    levels = values.astype(np.float32)
    return np.sqrt(cv2.Sobel(levels, -1, 1, 0) ** 2 + cv2.Sobel(levels, -1, 0, 1) ** 2)


def gray3(gray: np.ndarray) -> np.ndarray:
    """A gray uint8 H x W image as RGB."""
    return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)


def over_channels(values: np.ndarray) -> np.ndarray:
    """H x W values as H x W x 3, three times the same.

    NumPy is several times as quick on such an array as on one of H x W x 1 that it has to spread.
    """
    if values.dtype == bool:
        return cv2.merge([values.view(np.uint8)] * 3).view(bool)
    return cv2.merge([values] * 3)


def blend(
    image: np.ndarray, other: np.ndarray | tuple[int, int, int], weight: np.ndarray | float
) -> np.ndarray:
    """(1 - weight) image + weight other, rounded.

    Args:
        image: uint8 H x W x 3.
        other: An image of the same shape, or one colour.
        weight: 0 to 1, one number or H x W.
    """
    amount = weight if isinstance(weight, (int, float)) else np.asarray(weight, np.float32)
    others = other if isinstance(other, tuple) else cv2.split(other)
    channels = [
        _blend_channel(channel, np.asarray(values, np.float32), amount)
        for channel, values in zip(cv2.split(image), others, strict=True)
    ]
    return cv2.merge(channels)


def _blend_channel(
    channel: np.ndarray, other: np.ndarray, amount: np.ndarray | float
) -> np.ndarray:
    base = channel.astype(np.float32)
    return to_uint8(base + (other - base) * amount)


def paint(image: np.ndarray, where: np.ndarray, name: str) -> np.ndarray:
    """The image with the pixels of a boolean H x W mask set to a named colour."""
    channels = [
        np.where(where, np.uint8(level), channel)
        for level, channel in zip(COLOURS[name], cv2.split(image), strict=True)
    ]
    return cv2.merge(channels)


@pattern
def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates x, y as float32 H x W (read-only)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x, y


@pattern
def unit(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y of pixel centres from 0 to 1 across the image, float32 H x W (read-only)."""
    x, y = grid(height, width)
    return (x + 0.5) / width, (y + 0.5) / height


@pattern
def centred(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y from the centre in half short sides, float32 H x W (read-only)."""
    x, y = grid(height, width)
    half = min(height, width) / 2
    return (x - (width - 1) / 2) / half, (y - (height - 1) / 2) / half


@pattern
def from_centre(height: int, width: int) -> np.ndarray:
    """How far pixels are from the centre in half short sides, float32 H x W (read-only)."""
    return np.hypot(*centred(height, width))


def disc(image: np.ndarray, x: float, y: float, radius: float, soft: float = 0.06) -> np.ndarray:
    """A weight that is 1 in a disc and falls to 0 at its rim, H x W (read-only).

    Args:
        image: The image whose height and width count.
        x: Place of the centre, a share of the width.
        y: Place of the centre, a share of the height.
        radius: Where the weight is one half, in short sides.
        soft: How wide the fall is, in short sides.
    """
    return _disc(*image.shape[:2], x, y, radius, soft)


@pattern
def _disc(height: int, width: int, x: float, y: float, radius: float, soft: float) -> np.ndarray:
    columns, rows = grid(height, width)
    short = min(height, width)
    distance = np.hypot(columns - x * width + 0.5, rows - y * height + 0.5) / short
    return np.clip((radius - distance) / soft + 0.5, 0, 1)


def warp(image: np.ndarray, matrix: np.ndarray, border: int = cv2.BORDER_REFLECT_101) -> np.ndarray:
    """The image under an affine map, bilinear.

    Args:
        image: uint8 H x W x 3.
        matrix: 2 x 3, from output to input pixels.
        border: OpenCV's border mode for what lies beyond the edge.
    """
    height, width = image.shape[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        image, np.asarray(matrix, np.float64), (width, height), flags=flags, borderMode=border
    )


def remap(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, border: int = cv2.BORDER_REFLECT_101
) -> np.ndarray:
    """The image read at pixel coordinates x, y (H x W), bilinear."""
    return cv2.remap(
        image,
        np.asarray(x, np.float32),
        np.asarray(y, np.float32),
        cv2.INTER_LINEAR,
        borderMode=border,
    )


def from_centred(
    shape: tuple[int, ...], x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centred coordinates (see `centred`) back to pixel coordinates."""
    height, width = shape[:2]
    half = min(height, width) / 2
    return x * half + (width - 1) / 2, y * half + (height - 1) / 2


@pattern
def noise(height: int, width: int, channels: int, seed: int) -> np.ndarray:
    """Standard normal noise of a seed, float32 H x W x channels (read-only)."""
    random = np.random.default_rng(seed)
    return random.standard_normal((height, width, channels), dtype=np.float32)
