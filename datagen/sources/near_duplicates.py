"""Near-equal images: what an image is compared by, and a search among those seen before."""

from typing import NamedTuple

import numpy as np

from datagen.sources import Load
from lorweb_bench.suites.near_duplicates import Known, dhash, flat, thumbnail


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
    from lorweb_bench.runtime.workers import run_pieces

    return list(run_pieces(look, loads, workers, describe="comparing images"))


class Likenesses:
    """The images seen so far. `like` tells which earlier one an image looks like, as `lorweb-bench leaks` would say."""

    def __init__(self) -> None:
        self._known = Known()
        self._names: list[str] = []

    def like(self, name: str, seen: Look) -> str | None:
        """The name of an earlier image that this one is near to; None, and it is kept, when there is none.

        Flat images are like no other one: there is nothing to compare.
        """
        if flat(seen.thumbnail):
            return None
        if (near := self._known.nearest(seen.dhash, seen.thumbnail)) is not None:
            return self._names[near[0]]
        self._known.add(seen.dhash, seen.thumbnail)
        self._names.append(name)
        return None
