"""What all kinds share: blending, painting, and patterns that are made once."""

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from datagen.transformations import arrays
from datagen.transformations.arrays import blend, disc, over_channels, paint, pattern

PICTURE = cv2.resize(skimage.data.astronaut(), (48, 36), interpolation=cv2.INTER_AREA)
OTHER = cv2.resize(skimage.data.coffee(), (48, 36), interpolation=cv2.INTER_AREA)


def test_painting_changes_the_masked_pixels_alone() -> None:
    where = PICTURE[..., 0] > 128
    painted = paint(PICTURE, where, "orange")
    assert np.array_equal(painted[~where], PICTURE[~where])
    assert {tuple(colour) for colour in painted[where].tolist()} == {arrays.COLOURS["orange"]}


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_blending_with_one_weight_is_that_of_pillow(weight: float) -> None:
    expected = Image.blend(Image.fromarray(PICTURE), Image.fromarray(OTHER), weight)
    difference = blend(PICTURE, OTHER, weight).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 1


def test_blending_with_a_mask_is_that_of_pillow() -> None:
    mask = np.linspace(0, 255, 48 * 36).reshape(36, 48).astype(np.uint8)
    colour = Image.new("RGB", (48, 36), (10, 200, 90))
    expected = Image.composite(colour, Image.fromarray(PICTURE), Image.fromarray(mask))
    difference = blend(PICTURE, (10, 200, 90), mask / 255).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64])
def test_values_over_channels_keep_their_type(dtype: type) -> None:
    values = (PICTURE[..., 0] > 100).astype(dtype)
    spread = over_channels(values)
    assert spread.dtype == dtype
    assert np.array_equal(spread, values[..., None].repeat(3, 2))


def test_a_pattern_is_made_once_for_each_size_and_type_of_number_and_is_read_only() -> None:
    calls = []

    @pattern
    def ramp(height: int, width: int, rise: float) -> np.ndarray:
        """A ramp that counts how often it is made."""
        calls.append(rise)
        return np.arange(height * width, dtype=np.float32).reshape(height, width) * rise

    first = ramp(3, 4, 0.5)
    assert ramp(3, 4, 0.5) is first
    assert not first.flags.writeable
    assert ramp(4, 3, 0.5).shape == (4, 3)
    assert first.dtype == np.float32
    assert ramp(3, 4, np.float64(0.5)).dtype == np.float64  # which a float of Python's is not
    assert len(calls) == 3


def test_patterns_take_no_more_memory_than_they_may() -> None:
    panorama = np.empty((64, 8192, 3), np.uint8)  # two megabytes of weights
    for share in range(80):
        disc(panorama, share / 80, 0.5, 0.3)
        assert arrays._PATTERNS.currsize <= arrays.PATTERN_BYTES
