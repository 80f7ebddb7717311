"""Scenes: pure functions of their seed, varied, lopsided, with photographs' statistics."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.sources.crops import Panel, cut_panel
from datagen.sources.scenes.compose import scene, scenes
from datagen.sources.scenes.paint import noise_bank, palette


@pytest.fixture(scope="module")
def hundred() -> np.ndarray:
    return np.stack([scene(seed, 64, 64) for seed in range(100)])


def rmse(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.sqrt(((first.astype(np.float64) - second) ** 2).mean((-3, -2, -1)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**40), height=st.integers(8, 96), width=st.integers(8, 96))
def test_any_seed_and_size_give_an_image(seed: int, height: int, width: int) -> None:
    image = scene(seed, height, width)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_a_seed_fixes_every_pixel_whatever_was_drawn_before(hundred: np.ndarray) -> None:
    noise_bank.cache_clear()
    for seed in (71, 3, 42):
        assert np.array_equal(scene(seed, 64, 64), hundred[seed])


def test_scenes_differ_from_each_other(hundred: np.ndarray) -> None:
    nearest = [
        min(rmse(hundred[i], hundred[j]) for j in range(100) if j != i) for i in range(0, 100, 5)
    ]
    assert min(nearest) > 8


def test_flips_and_turns_are_visible(hundred: np.ndarray) -> None:
    for changed in (
        hundred[:, ::-1],
        hundred[:, :, ::-1],
        np.rot90(hundred, 1, (1, 2)),
        np.rot90(hundred, 2, (1, 2)),
    ):
        assert np.mean(rmse(hundred, changed) > 20) > 0.9


def test_statistics_are_those_of_photographs(hundred: np.ndarray) -> None:
    """The ranges hold for crops of natural photographs at this size: contrast, brightness, and an
    amplitude spectrum of about 1/f.
    """
    luma = hundred.astype(np.float64) @ (0.299, 0.587, 0.114) / 255
    assert 0.3 < np.median(luma.mean((1, 2))) < 0.6
    assert 0.12 < np.median(luma.std((1, 2))) < 0.25
    window = np.hanning(64)[:, None] * np.hanning(64)
    spectra = np.abs(np.fft.fft2((luma - luma.mean((1, 2), keepdims=True)) * window)).mean(0)
    radius = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))
    band = (radius > 0.03) & (radius < 0.45)
    slope = np.polyfit(np.log(radius[band]), np.log(spectra[band]), 1)[0]
    assert -1.7 < slope < -0.9


def test_every_colour_family_appears() -> None:
    random = np.random.default_rng(0)
    colours = np.concatenate([palette(random) for _ in range(200)])
    strongest = colours.argmax(1)
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert (np.bincount(strongest, minlength=3) > 200).all()


def test_scenes_are_sources() -> None:
    sources = scenes(range(5, 8), 64, 48)
    assert [source.name for source in sources] == ["scene-000005", "scene-000006", "scene-000007"]
    again = pickle.loads(pickle.dumps(sources[0]))
    assert again == sources[0]
    assert np.array_equal(again.load(), scene(5, 64, 48))


def test_a_panel_of_the_size_of_the_scene_is_the_scene() -> None:
    (source,) = scenes([9], 64, 64)
    assert np.array_equal(cut_panel(source, Panel(square=64), 1), scene(9, 64, 64))
