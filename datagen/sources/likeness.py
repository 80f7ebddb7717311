"""Near-equal images: what an image is compared by, and a search among those seen before."""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from datagen.sources import Load
from lorweb_bench.leaks import FLAT_LEVELS, NEAR_BITS, NEAR_CORRELATION, NEAR_LEVELS, dhash, thumbnail

BANDS = (0, 16, 32, 48)  # of the 64 bits: two hashes at most 3 bits apart agree in one of four bands


class Look(NamedTuple):
    """Size of an image in pixels, and what it is compared by: its difference hash, and a thumbnail of uint8 8 x 8 x 3."""

    width: int
    height: int
    dhash: int
    thumbnail: np.ndarray


def look(load: Load) -> Look:
    """Look at the image that `load` gives."""
    image = load()
    return Look(image.shape[1], image.shape[0], dhash(image), thumbnail(image))


def looks(loads: list[Load], workers: int = 1) -> list[Look]:
    """Look at many images, with progress on stderr beyond two seconds."""
    from lorweb_bench.engine import run_pieces

    return list(run_pieces(look, loads, workers, describe="comparing images"))


@dataclass(frozen=True)
class _Known:
    name: str
    look: Look


class Likenesses:
    """The images seen so far. `like` tells which earlier one an image looks like, as `lorweb-bench leaks` would say."""

    def __init__(self) -> None:
        self._bands: dict[tuple[int, int], list[_Known]] = defaultdict(list)

    def like(self, name: str, seen: Look) -> str | None:
        """The name of an earlier image that this one is near to; None, and it is kept, when there is none.

        Flat images are like no other one: there is nothing to compare.
        """
        if float(seen.thumbnail.std(axis=(0, 1)).max()) < FLAT_LEVELS:
            return None
        for shift in BANDS:
            for other in self._bands[shift, (seen.dhash >> shift) & 0xFFFF]:
                if _near(seen, other.look):
                    return other.name
        for shift in BANDS:
            self._bands[shift, (seen.dhash >> shift) & 0xFFFF].append(_Known(name, seen))
        return None


def _near(one: Look, other: Look) -> bool:
    if (one.dhash ^ other.dhash).bit_count() > NEAR_BITS:
        return False
    x, y = one.thumbnail.astype(np.float64).ravel(), other.thumbnail.astype(np.float64).ravel()
    return bool(np.sqrt(((x - y) ** 2).mean()) <= NEAR_LEVELS and np.corrcoef(x, y)[0, 1] >= NEAR_CORRELATION)
