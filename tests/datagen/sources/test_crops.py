"""Panels: seeded crops that are not flat, whole images of bounded size, and pairs cut alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.sources.crops import Panel, cut_pair, cut_panel
from datagen.sources.source import Pair, Source
from lorweb_bench.errors import InputError


def coordinates(height: int, width: int) -> np.ndarray:
    """An image that tells where each of its pixels was: red grows with x, green with y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, (x ^ y) & 255], -1).astype(np.uint8)


def source(image: np.ndarray, name: str = "it") -> Source:
    return Source(name, "none", "", lambda: image.copy())


def pair(before: np.ndarray, after: np.ndarray) -> Pair:
    return Pair("task", "pair", lambda: before.copy(), lambda: after.copy(), "", "none", "", "pair")


def test_a_crop_is_a_function_of_its_seed() -> None:
    it = source(coordinates(200, 250))
    crops = [cut_panel(it, Panel(square=32), seed) for seed in range(6)]
    assert all(
        np.array_equal(crop, cut_panel(it, Panel(square=32), seed))
        for seed, crop in enumerate(crops)
    )
    assert len({crop.tobytes() for crop in crops}) == 6


def test_crops_keep_to_their_share_of_the_short_side_and_are_never_enlarged() -> None:
    it = source(coordinates(200, 250))
    for square, least in ((32, 70), (120, 120)):
        sides = []
        for seed in range(60):
            crop = cut_panel(it, Panel(square=square), seed).astype(float)
            # The red channel grows by side / square a pixel; it is the same along x and y: square
            # crops stay square.
            across, down = (
                np.polyfit(np.arange(square), crop[:, :, 0].mean(0), 1)[0],
                np.polyfit(np.arange(square), crop[:, :, 1].mean(1), 1)[0],
            )
            assert across == pytest.approx(down, rel=0.03)
            sides.append(across * square)
        assert min(sides) >= least * 0.98
        assert max(sides) <= 200 * 1.02
        assert np.ptp(sides) > 30


def test_a_crop_avoids_what_is_flat() -> None:
    image = np.full((300, 300, 3), 128, np.uint8)
    image[:, 200:] = np.kron(
        np.random.default_rng(0).integers(0, 256, (15, 5, 3)), np.ones((20, 20, 1))
    ).astype(np.uint8)
    for seed in range(20):
        assert cut_panel(source(image), Panel(square=32), seed).mean(-1).std() > 10


def test_detail_in_one_corner_is_not_enough_where_more_is_to_be_had() -> None:
    image = np.full((400, 400, 3), 128, np.uint8)
    image[150:, 150:] = np.kron(
        np.random.default_rng(1).integers(0, 256, (25, 25, 3)), np.ones((10, 10, 1))
    ).astype(np.uint8)
    for seed in range(20):
        luma = cut_panel(source(image), Panel(square=48), seed).mean(-1)
        fields = luma.reshape(3, 16, 3, 16).std((1, 3))
        assert (fields > 3).sum() >= 4


def test_a_flat_image_still_gives_a_panel() -> None:
    assert cut_panel(source(np.full((64, 80, 3), 7, np.uint8)), Panel(square=32), 0).shape == (
        32,
        32,
        3,
    )


def test_an_image_smaller_than_the_panel_is_refused() -> None:
    with pytest.raises(InputError, match="40 x 30 pixels"):
        cut_panel(source(coordinates(30, 40)), Panel(square=32), 0)
    with pytest.raises(InputError, match="needs 16"):
        cut_panel(source(coordinates(12, 40)), Panel(long_edge=64), 0)


@given(height=st.integers(16, 5000), width=st.integers(16, 5000), long_edge=st.integers(16, 2048))
def test_whole_images_have_sides_of_sixteen_within_the_long_edge(
    height: int, width: int, long_edge: int
) -> None:
    size = Panel(long_edge=long_edge).size(height, width)
    assert max(size) <= long_edge
    assert all(side % 16 == 0 and side >= 16 for side in size)
    for side, original in zip(size, (width, height), strict=True):
        assert side <= original + 8  # never enlarged beyond rounding
        shrunk = original * min(1.0, long_edge / max(height, width))
        assert abs(side - shrunk) <= 16 or side == 16


def test_a_whole_image_shows_all_of_it() -> None:
    image = coordinates(160, 240)
    shown = cut_panel(source(image), Panel(long_edge=96), 5)
    assert shown.shape == (64, 96, 3)
    assert abs(int(shown[0, 0, 0])) <= 2
    assert abs(int(shown[-1, -1, 0]) - 238) <= 2


def test_an_image_is_decoded_once_for_many_crops() -> None:
    calls = []

    def load() -> np.ndarray:
        calls.append(1)
        return coordinates(100, 100)

    it = Source("it", "none", "", load)
    crops = [cut_panel(it, Panel(square=32), seed) for seed in range(10)]
    assert len(calls) == 1
    crops[0][:] = 0  # a panel belongs to its caller
    assert cut_panel(it, Panel(square=32), 0).any()


def test_pairs_are_cut_at_the_same_place() -> None:
    before = coordinates(120, 180)
    for size in (Panel(square=32), Panel(long_edge=96)):
        for seed in range(8):
            first, second = cut_pair(pair(before, 255 - before), size, seed)
            assert first.shape == second.shape
            assert np.abs(255 - first.astype(int) - second).max() <= 1


def test_an_after_of_another_size_follows_before() -> None:
    before = coordinates(128, 160)
    first, second = cut_pair(pair(before, coordinates(256, 320) // 2), Panel(long_edge=80), 0)
    assert first.shape == second.shape == (64, 80, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"square": 32, "long_edge": 64},
        {"square": 8},
        {"long_edge": 100_000},
        {"square": 32, "format": "bmp"},
    ],
)
def test_an_impossible_panel_is_refused(arguments: dict) -> None:
    with pytest.raises(InputError, match="panel:"):
        Panel(**arguments)
