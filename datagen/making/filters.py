"""What a recipe lets pass: pairs with a change that can be seen, and items whose two changes agree."""

from collections.abc import Mapping

import numpy as np

from datagen.recipe.schema import FiltersSection
from lorweb_bench.data.images import decode_array
from lorweb_bench.metrics.clip import NO_DIRECTION, Clip
from lorweb_bench.metrics.pixel import mse
from lorweb_bench.metrics.weights import digest
from lorweb_bench.protocol import ROLES


def levels(x: np.ndarray, y: np.ndarray) -> float:
    """The RMSE of two uint8 arrays of one shape, in levels (0-255)."""
    return float(255.0 * mse(x, y) ** 0.5)


def blank(image: np.ndarray) -> float:
    """The share of an image's pixels (uint8 H x W x 3) that its most common colour has, in steps of 8 levels: 1 is nothing to see."""
    red, green, blue = (image[..., channel].astype(np.uint16) >> 3 for channel in range(3))
    bins = red | green << 5 | blue << 10
    return float(np.bincount(bins.reshape(-1)).max() / bins.size)


def failed(before: np.ndarray, after: np.ndarray, filters: FiltersSection) -> str | None:
    """The name of the first filter of a recipe that a pair does not pass; None when it passes all."""
    change = levels(before, after)
    if change < filters.minimum_change:
        return "minimum_change"
    if change > (filters.maximum_change or 255.0):
        return "maximum_change"
    return "maximum_blank" if blank(after) > filters.maximum_blank else None


def chosen_with(filters: FiltersSection) -> dict[str, str]:
    """The encoder that `clip_direction` chooses items with, by name, and the sha256 of its weights; empty where none does.

    InputError when its packages or weights are not there.
    """
    if filters.clip_direction.model is None:
        return {}
    clip = Clip(filters.clip_direction.model)
    return {clip.name: digest(clip.file())}


def disagree(filters: FiltersSection, files: Mapping[str, tuple[bytes, str]]) -> bool:
    """Whether the changes of the two pairs of an item, its encoded images, have too small a cosine to the recipe's encoder.

    So they do when one of them is no change at all to the encoder. False where the recipe names no encoder.
    """
    wanted = filters.clip_direction
    if wanted.model is None:
        return False
    panels = [decode_array(files[role][0], role) for role in ROLES]
    features = Clip(wanted.model).features(panels).astype(np.float64)
    first, second = features[1] - features[0], features[3] - features[2]
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    return bool(
        min(lengths) < NO_DIRECTION or first @ second / (lengths[0] * lengths[1]) < wanted.minimum
    )
