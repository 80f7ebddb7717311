"""Where images come from: photographs, procedural scenes, and pairs or quadruplets that somebody else edited."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from datagen.making.build_notes import Note
from lorweb_bench.data.images import resize
from lorweb_bench.errors import InputError

Load = Callable[[], np.ndarray]

CROP_SHARES = (0.35, 1.0)  # of the short side
CROP_ATTEMPTS = 12
ENOUGH_CONTRAST = 16.0  # standard deviation of the luma, in levels
ENOUGH_DETAIL = 3.0  # the same within a ninth of the crop


@dataclass(frozen=True)
class Source:
    """One photograph or one scene: the unit that splits and clusters go by.

    `name` is unique and stable, `[a-z0-9_-]+`. `load()` returns the full image, uint8 H x W x 3 RGB; it is picklable, and equal
    for equal sources, so that it can be sent to other processes and used as the key of a cache. `pixels` is the hash of the image
    where it was looked at.
    """

    name: str
    licence: str
    attribution: str
    load: Load
    pixels: str = ""


@dataclass(frozen=True)
class Pair:
    """An image before and after somebody's edit: `before()` and `after()` return uint8 H x W x 3 RGB.

    `task` names the transformation; any two pairs of one task make an analogy. `name` is unique and stable, and both are
    `[a-z0-9_-]+`. `instruction` says the edit in words, or is empty. Pairs with the same `photograph` are taken to start from the same
    picture, whatever their task: a suite must not use it both as a and as b. `aspect` is width / height, and `pixels` holds the hashes
    of the images, where they were looked at. `as_b` is false where as (b, b_prime) of a suite it would give
    the answer of another pair away.
    """

    task: str
    name: str
    before: Load
    after: Load
    instruction: str
    licence: str
    attribution: str
    photograph: str
    aspect: float | None = None
    as_b: bool = True
    pixels: str = ""


class Skipped(NamedTuple):
    """A file that was left out, and why, in words; a reason that is a Note names the filter, any other one is a bad file."""

    file: str
    reason: str

    @property
    def note(self) -> Note:
        """Both in one sentence, counted as `unreadable` where the reason names no filter."""
        return Note(
            f"{self.file}: {self.reason}", getattr(self.reason, "filter", "") or "unreadable"
        )


@dataclass(frozen=True)
class Panel:
    """The size and file format of a dataset's images: `square` pixels (seeded crops) or at most `long_edge` pixels (whole images)."""

    square: int | None = None
    long_edge: int | None = None
    format: Literal["png", "jpg", "webp"] = "png"

    def __post_init__(self) -> None:
        if (self.square is None) == (self.long_edge is None):
            raise InputError(
                f"panel: give either square or long_edge, not square={self.square} with long_edge={self.long_edge}"
            )
        pixels = self.square if self.square is not None else self.long_edge
        if not isinstance(pixels, int) or not 16 <= pixels <= 4096:
            raise InputError(
                f"panel: the size {pixels!r} is not a whole number of pixels from 16 to 4096"
            )
        if self.format not in ("png", "jpg", "webp"):
            raise InputError(f"panel: the format {self.format!r} is none of png, jpg, webp")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The (width, height) of the panel of an image of height x width: what `resize` takes.

        With `long_edge` both are multiples of 16, never above it, and an image is never enlarged beyond rounding.
        """
        if self.long_edge is None:
            assert self.square is not None
            return self.square, self.square
        shrink = min(1.0, self.long_edge / max(height, width))
        sides = [
            min(max(1, round(side * shrink / 16)), self.long_edge // 16) * 16
            for side in (width, height)
        ]
        return sides[0], sides[1]


@lru_cache(maxsize=4)
def recent(load: Load) -> np.ndarray:
    """The image that `load` gives, read-only, from memory for the last four: a build takes many crops of one photograph in a row."""
    image = load()
    image.setflags(write=False)
    return image


def panel(source: Source, size: Panel, seed: int) -> np.ndarray:
    """A panel of a source, uint8 H x W x 3 RGB, a pure function of its arguments; seeds are whole numbers from 0.

    `square`: a seeded crop of 0.35 to 1.0 of the short side, never enlarged and, where the image has any detail, not flat.
    `long_edge`: the whole image, and no seed matters. InputError when the image is smaller than the panel (`square`) or has a side
    under 16 pixels (`long_edge`).
    """
    image = recent(source.load)
    return _cut([image], size, seed, source.name)[0]


def pair_panels(pair: Pair, size: Panel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The panels of a pair, both of one size and cut at the same place; an `after` of another size is first resized to `before`'s."""
    before = recent(pair.before)
    after = resize(recent(pair.after), (before.shape[1], before.shape[0]))
    first, second = _cut([before, after], size, seed, pair.name)
    return first, second


def _cut(images: list[np.ndarray], size: Panel, seed: int, name: str) -> list[np.ndarray]:
    """Panels of images of one size, cut alike; the first image decides what is not flat."""
    height, width = images[0].shape[:2]
    least = size.square or 16
    if min(height, width) < least:
        raise InputError(
            f"{name} is {width} x {height} pixels, and its panel needs {least} on each side; leave it out or ask for less"
        )
    target = size.size(height, width)
    if size.square is None:
        return [np.array(resize(image, target)) for image in images]
    random = np.random.default_rng((seed, zlib.crc32(name.encode())))
    best, most = (slice(None), slice(None)), -1.0
    for _ in range(CROP_ATTEMPTS):
        box = _box(random, height, width, size.square)
        detail = _detail(resize(images[0][box], target))
        if detail > most:
            best, most = box, detail
        if detail >= 1.0 or min(height, width) == size.square == max(height, width):
            break
    return [np.array(resize(image[best], target)) for image in images]


def _box(random: np.random.Generator, height: int, width: int, least: int) -> tuple[slice, slice]:
    side = max(least, round(min(height, width) * random.uniform(*CROP_SHARES)))
    y, x = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
    return slice(y, y + side), slice(x, x + side)


def _detail(crop: np.ndarray) -> float:
    """How far from flat a square crop is: 1 or more is enough, when the luma varies as a whole and within six of its nine fields."""
    luma = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    third = max(1, luma.shape[0] // 3)
    fields = sorted(
        luma[y : y + third, x : x + third].std()
        for y in (0, third, 2 * third)
        for x in (0, third, 2 * third)
    )
    return float(min(luma.std() / ENOUGH_CONTRAST, fields[3] / ENOUGH_DETAIL))
