"""Panels cut from images: seeded square crops with detail, or whole images of bounded size."""

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from datagen.sources.source import Load, Pair, Source
from lorweb_bench.data.images import resize
from lorweb_bench.errors import InputError

CROP_SHARES = (0.35, 1.0)  # of the short side
CROP_ATTEMPTS = 12
ENOUGH_CONTRAST = 16.0  # standard deviation of the luma, in levels
ENOUGH_DETAIL = 3.0  # the same within a ninth of the crop
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Panel:
    """The size and file format of a dataset's images.

    Attributes:
        square: Side of seeded square crops, in pixels (16 to 4096). Excludes `long_edge`.
        long_edge: Greatest side of whole images, in pixels (16 to 4096). Excludes `square`.
        format: png, jpg or webp.
    """

    square: int | None = None
    long_edge: int | None = None
    format: Literal["png", "jpg", "webp"] = "png"

    def __post_init__(self) -> None:
        if (self.square is None) == (self.long_edge is None):
            raise InputError(
                "panel: give either square or long_edge, not "
                f"square={self.square} with long_edge={self.long_edge}"
            )
        pixels = self.square if self.square is not None else self.long_edge
        if not isinstance(pixels, int) or not 16 <= pixels <= 4096:
            raise InputError(
                f"panel: the size {pixels!r} is not a whole number of pixels from 16 to 4096"
            )
        if self.format not in ("png", "jpg", "webp"):
            raise InputError(f"panel: the format {self.format!r} is none of png, jpg, webp")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The (width, height) of the panel of an image of height x width, as `resize` takes it.

        With `long_edge` both are multiples of 16, never above it, and an image is never enlarged
        beyond rounding.
        """
        if self.long_edge is None:
            assert self.square is not None
            return self.square, self.square
        shrink = min(1.0, self.long_edge / max(height, width))
        most = self.long_edge // 16
        columns, rows = (min(max(1, round(side * shrink / 16)), most) for side in (width, height))
        return 16 * columns, 16 * rows


@lru_cache(maxsize=4)
def load_recent(load: Load) -> np.ndarray:
    """The image that `load` gives, read-only; the last four are kept in memory.

    A build takes many crops of one photograph in a row.
    """
    image = load()
    image.setflags(write=False)
    return image


def cut_panel(source: Source, size: Panel, seed: int) -> np.ndarray:
    """Cut a panel from a source: a pure function of its arguments.

    Args:
        source: A photograph or a scene.
        size: With `square` a seeded crop of 0.35 to 1.0 of the short side, never enlarged and,
            where the image has any detail, not flat; with `long_edge` the whole image.
        seed: A whole number from 0; it does not matter with `long_edge`.

    Returns:
        uint8 H x W x 3 RGB.

    Raises:
        InputError: The image is smaller than the panel (`square`), or has a side under 16 pixels
            (`long_edge`).
    """
    image = load_recent(source.load)
    return _cut_alike([image], size, seed, source.name)[0]


def cut_pair(pair: Pair, size: Panel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut the panels of a pair, both of one size and at the same place.

    An `after` of another size is first resized to that of `before`.
    """
    assert pair.after is not None
    before = load_recent(pair.before)
    after = resize(load_recent(pair.after), (before.shape[1], before.shape[0]))
    first, second = _cut_alike([before, after], size, seed, pair.name)
    return first, second


def cut_before(pair: Pair, size: Panel, seed: int) -> np.ndarray:
    """Cut the panel of a picture that nobody edited."""
    return _cut_alike([load_recent(pair.before)], size, seed, pair.name)[0]


def _cut_alike(images: list[np.ndarray], size: Panel, seed: int, name: str) -> list[np.ndarray]:
    """Cut images of one size at the same place; the first image decides what is not flat."""
    height, width = images[0].shape[:2]
    least = size.square or 16
    if min(height, width) < least:
        raise InputError(
            f"{name} is {width} x {height} pixels, and its panel needs {least} on each side; "
            "leave it out or ask for less"
        )
    target = size.size(height, width)
    if size.square is None:
        return [np.array(resize(image, target)) for image in images]
    random = np.random.default_rng((seed, zlib.crc32(name.encode())))
    best, most = (slice(None), slice(None)), -1.0
    for _ in range(CROP_ATTEMPTS):
        box = _random_box(random, height, width, size.square)
        detail = _detail(resize(images[0][box], target))
        if detail > most:
            best, most = box, detail
        if detail >= 1.0 or min(height, width) == size.square == max(height, width):
            break
    return [np.array(resize(image[best], target)) for image in images]


def _random_box(
    random: np.random.Generator, height: int, width: int, least: int
) -> tuple[slice, slice]:
    side = max(least, round(min(height, width) * random.uniform(*CROP_SHARES)))
    y, x = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
    return slice(y, y + side), slice(x, x + side)


def _detail(crop: np.ndarray) -> float:
    """How far from flat a square crop is.

    Returns:
        1 or more when the luma varies enough as a whole and within six of its nine fields.
    """
    luma = crop.astype(np.float32) @ LUMA
    third = max(1, luma.shape[0] // 3)
    starts = [(y, x) for y in (0, third, 2 * third) for x in (0, third, 2 * third)]
    fields = sorted(luma[y : y + third, x : x + third].std() for y, x in starts)
    return float(min(luma.std() / ENOUGH_CONTRAST, fields[3] / ENOUGH_DETAIL))
