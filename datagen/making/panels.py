"""Panels: seeded crops of photographs and scenes, in the size that the recipe asks for.

Items draw their photographs in random order, so each process keeps those that it used lately
decoded.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from cachetools import LRUCache, cached

from datagen.planning.source_roles import panel_of
from datagen.recipe.schema import Recipe
from datagen.sources.crops import cut_panel
from datagen.sources.source import Load, Source
from lorweb_bench.data import images

CACHE_BYTES = 256 * 2**20
_decoded: LRUCache[Any, np.ndarray] = LRUCache(CACHE_BYTES, getsizeof=lambda image: image.nbytes)


def cut(source: Source, recipe: Recipe, seed: int) -> np.ndarray:
    """Cut a panel of the recipe's size from a source.

    Args:
        source: A photograph or a scene.
        recipe: Gives the panel's size.
        seed: Chooses the place of a square crop.

    Returns:
        uint8 H x W x 3.
    """
    if not source.name.startswith("scene-"):
        source = replace(source, load=_CachedLoad(source.load))
    return cut_panel(source, panel_of(recipe), seed)


@dataclass(frozen=True)
class _CachedLoad:
    """Loads a photograph from this process's cache, and decodes it when it is not there."""

    load: Load

    def __call__(self) -> np.ndarray:
        return _load(self.load)


@cached(_decoded)
def _load(load: Load) -> np.ndarray:
    return load()


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image to cover a size and cut out its centre.

    Args:
        image: uint8 H x W x 3.
        size: Width and height of the result, in pixels.

    Returns:
        uint8 height x width x 3; the image itself when it has that size already.
    """
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    scale = max(width / image.shape[1], height / image.shape[0])
    scaled = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    covering = images.to_array(images.resize(image, scaled))
    y, x = (covering.shape[0] - height) // 2, (covering.shape[1] - width) // 2
    return np.ascontiguousarray(covering[y : y + height, x : x + width])
