"""Panels: seeded crops of photographs and scenes, of the recipe's size; photographs used lately are kept decoded."""

from dataclasses import dataclass, replace

import numpy as np

from datagen.making.kept import Kept
from datagen.planning.source_roles import panel_of
from datagen.recipe.schema import Recipe
from datagen.sources import Load, Source, panel
from lorweb_bench.data import images

KEPT_BYTES = 256 * 2**20
_PHOTOGRAPHS: Kept[Load, np.ndarray] = Kept(KEPT_BYTES, lambda image: image.nbytes)


def cut(source: Source, recipe: Recipe, seed: int) -> np.ndarray:
    """A panel of the recipe's size from a source, uint8 H x W x 3; `seed` chooses the place."""
    kept = (
        replace(source, load=_Kept(source.load)) if not source.name.startswith("scene-") else source
    )
    return panel(kept, panel_of(recipe), seed)


@dataclass(frozen=True)
class _Kept:
    """Loads a photograph from memory where it was used lately: items draw them in random order."""

    load: Load

    def __call__(self) -> np.ndarray:
        return _PHOTOGRAPHS.get(self.load, self.load)


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image to cover (width, height), and cut its centre out. The image itself when it has that size."""
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    scale = max(width / image.shape[1], height / image.shape[0])
    scaled = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    covering = images.to_array(images.resize(image, scaled))
    y, x = (covering.shape[0] - height) // 2, (covering.shape[1] - width) // 2
    return np.ascontiguousarray(covering[y : y + height, x : x + width])
