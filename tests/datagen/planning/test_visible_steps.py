"""Early answers are those of all images, and every step of what passes can be seen."""

import itertools

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from datagen.planning.calibration import Calibration
from datagen.planning.visible_steps import MedianTest, sketch_if_visible
from datagen.transformations import library

LEAST = 8.0
NAMES = ("invert", "flip-axis_horizontal", "grayscale", "hue_shift-degrees_60", "gamma-value_2p4")
SINGLES = {
    name: {**spec, "id": name} for name, spec in library().singles().items() if name in NAMES
}


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    pictures = (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea())
    crops = [picture[:, 100 * i : 100 * i + 200] for i in range(2) for picture in pictures]
    images = [cv2.resize(crop, (24, 20), interpolation=cv2.INTER_AREA) for crop in crops]
    return Calibration("datagen", [(image, image) for image in images])


@given(st.lists(st.sampled_from([7.0, 8.0, 9.0]), min_size=1, max_size=9))
def test_the_answer_is_that_of_the_median_of_all(values: list[float]) -> None:
    test, answers = MedianTest(len(values), LEAST), []
    for value in values:
        test.add(value)
        answers.append(test.passed)
    given_answers = [answer for answer in answers if answer is not None]
    assert set(given_answers) == {bool(np.median(values) >= LEAST)}  # none is taken back


def test_the_answer_comes_with_the_greater_half() -> None:
    test = MedianTest(12, LEAST)
    for _ in range(7):
        assert test.passed is None
        test.add(0.0)
    assert test.passed is False


@pytest.mark.parametrize("length", [2, 3])
def test_all_images_would_give_the_same_answer(calibration: Calibration, length: int) -> None:
    def run(steps: tuple[str, ...]) -> list[np.ndarray]:
        """What steps make of each image, one after the other."""
        results = calibration.images
        for name in steps:
            results = [library().apply(SINGLES[name], result) for result in results]
        return results

    answers = []
    for steps in itertools.permutations(NAMES, length):
        whole = run(steps)
        others = [calibration.images, *map(run, itertools.combinations(steps, length - 1))]
        medians = []
        for other in others:
            pairs = zip(whole, other, strict=True)
            medians.append(
                np.median([np.sqrt(np.mean((x - y.astype(float)) ** 2)) for x, y in pairs])
            )
        sketch = sketch_if_visible(calibration, [SINGLES[name] for name in steps], LEAST)
        answers.append(sketch is not None)
        assert answers[-1] == (min(medians) >= LEAST), steps
        if sketch is not None:
            everything = np.concatenate([result.ravel() for result in whole])
            assert np.array_equal(sketch.pixels, everything)  # of images so small all is kept
    assert set(answers) == {True, False}


def test_what_fails_on_an_image_is_not_visible(calibration: Calibration) -> None:
    broken = {"id": "broken", "family": "broken", "parameters": {}}
    assert sketch_if_visible(calibration, [SINGLES["invert"], broken], LEAST) is None
