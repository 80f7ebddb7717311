"""Near-equal images: what an image is compared by, and a search among those seen before."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from datagen.sources.source import Load
from lorweb_bench.suites.near_duplicates import NearDuplicateIndex, dhash, is_flat, thumbnail


class Look(NamedTuple):
    """An image's size in pixels, and what it is compared by.

    Attributes:
        width: In pixels.
        height: In pixels.
        dhash: Its difference hash, 64 bits.
        thumbnail: uint8 16 x 16 x 3.
    """

    width: int
    height: int
    dhash: int
    thumbnail: np.ndarray

    @property
    def aspect(self) -> float:
        """Width / height."""
        return self.width / self.height


def look_at(load: Load) -> Look:
    """Decode the image that `load` gives and take what it is compared by."""
    image = load()
    return Look(image.shape[1], image.shape[0], dhash(image), thumbnail(image))


def look_at_all(loads: Sequence[Load], workers: int = 1) -> list[Look]:
    """Look at many images in `workers` processes, with progress beyond two seconds."""
    from lorweb_bench.runtime.workers import run_pieces

    return list(run_pieces(look_at, list(loads), workers, describe="comparing images"))


class SeenImages:
    """The images seen so far, compared as `lorweb-bench leaks` compares them."""

    def __init__(self) -> None:
        self._known = NearDuplicateIndex()
        self._names: list[str] = []

    def like(self, name: str, look: Look) -> str | None:
        """The name of an earlier image that this one is near-equal to.

        Returns:
            None when there is none; the image then joins those seen. A flat image is like no other
            one and does not join: there is nothing to compare.
        """
        if is_flat(look.thumbnail):
            return None
        near = self._known.nearest(look.dhash, look.thumbnail)
        if near is not None:
            return self._names[near[0]]
        self._known.add(look.dhash, look.thumbnail)
        self._names.append(name)
        return None
