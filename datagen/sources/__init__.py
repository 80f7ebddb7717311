"""Where images come from: photographs, procedural scenes, and pairs or quadruplets that somebody else edited."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lorweb_bench.errors import InputError


@dataclass(frozen=True)
class Source:
    """One photograph or one scene: the unit that splits and clusters go by.

    `name` is unique and stable, `[a-z0-9_-]+`. `load()` returns the full image, uint8 H x W x 3 RGB; it is picklable, and equal
    for equal sources, so that it can be sent to other processes and used as the key of a cache.
    """

    name: str
    licence: str
    attribution: str
    load: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Pair:
    """An image before and after somebody's edit: `before()` and `after()` return uint8 H x W x 3 RGB.

    `task` names the transformation; any two pairs of one task make an analogy. `name` is unique and stable, `[a-z0-9_-]+`.
    `instruction` says the edit in words, or is empty.
    """

    task: str
    name: str
    before: Callable[[], np.ndarray]
    after: Callable[[], np.ndarray]
    instruction: str
    licence: str
    attribution: str


@dataclass(frozen=True)
class Panel:
    """The size and file format of a dataset's images: `square` pixels (seeded crops) or at most `long_edge` pixels (whole images)."""

    square: int | None = None
    long_edge: int | None = None
    format: Literal["png", "jpg", "webp"] = "png"

    def __post_init__(self) -> None:
        if (self.square is None) == (self.long_edge is None):
            raise InputError(f"panel: give either square or long_edge, not square={self.square} with long_edge={self.long_edge}")
        pixels = self.square if self.square is not None else self.long_edge
        if not isinstance(pixels, int) or not 16 <= pixels <= 4096:
            raise InputError(f"panel: the size {pixels!r} is not a whole number of pixels from 16 to 4096")
        if self.format not in ("png", "jpg", "webp"):
            raise InputError(f"panel: the format {self.format!r} is none of png, jpg, webp")
