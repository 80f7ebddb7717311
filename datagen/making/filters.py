"""What a recipe lets pass: visible changes, and items whose two changes agree."""

from collections.abc import Mapping

import cv2
import numpy as np

from datagen.recipe.schema import FiltersSection
from lorweb_bench.data.images import decode_array
from lorweb_bench.metrics.clip import Clip
from lorweb_bench.metrics.encoders import NO_DIRECTION
from lorweb_bench.metrics.pixel import mse
from lorweb_bench.metrics.weights import digest
from lorweb_bench.protocol import ROLES


def levels(x: np.ndarray, y: np.ndarray) -> float:
    """The RMSE of two uint8 arrays of one shape, in levels (0-255)."""
    return float(255.0 * mse(x, y) ** 0.5)


def blank(image: np.ndarray) -> float:
    """The share of an image's pixels that its most common colour has.

    Args:
        image: uint8 H x W x 3.

    Returns:
        A share in (0, 1]; colours are compared in steps of 8 levels. At 1 there is nothing to see.
    """
    bins = cv2.cvtColor(image, cv2.COLOR_RGB2BGR555).view(np.uint16)  # 5 bits of each channel
    return float(np.bincount(bins.reshape(-1)).max() / bins.size)


def failed_filter(before: np.ndarray, after: np.ndarray, filters: FiltersSection) -> str | None:
    """The name of the first filter of a recipe that a pair fails; None when it passes them all."""
    change = levels(before, after)
    if change < filters.minimum_change:
        return "minimum_change"
    if change > (filters.maximum_change or 255.0):
        return "maximum_change"
    return "maximum_blank" if blank(after) > filters.maximum_blank else None


def chosen_with(filters: FiltersSection) -> dict[str, str]:
    """The encoder that `clip_direction` chooses items with, and the sha256 of its weights.

    Returns:
        One entry, or none where the recipe names no encoder.

    Raises:
        InputError: The encoder's packages or weights are not there.
    """
    if filters.clip_direction.model is None:
        return {}
    clip = Clip(filters.clip_direction.model)
    return {clip.name: digest(clip.file())}


def changes_disagree(filters: FiltersSection, files: Mapping[str, tuple[bytes, str]]) -> bool:
    """Whether the two changes of an item point apart in the space of the recipe's encoder.

    Args:
        filters: The recipe's filters; without an encoder no changes disagree.
        files: The item's encoded images by role, each (bytes, extension).

    Returns:
        True when the cosine of the two changes is under `clip_direction.minimum`, or when one of
        them is no change at all to the encoder.
    """
    section = filters.clip_direction
    if section.model is None:
        return False
    panels = [decode_array(files[role][0], role) for role in ROLES]
    features = Clip(section.model).features(panels).astype(np.float64)
    first, second = features[1] - features[0], features[3] - features[2]
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    if min(lengths) < NO_DIRECTION:
        return True
    return bool(first @ second / (lengths[0] * lengths[1]) < section.minimum)
