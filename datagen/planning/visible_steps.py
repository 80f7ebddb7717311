"""Whether every step of a composition can be seen on the calibration images.

Images are taken one after the other, and of what a composition would be without one of its steps
no more are made than the answer needs: once the greater half of them agree, the median is known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datagen.making.build_notes import ItemFailure, failing_items
from datagen.making.filters import blank
from datagen.planning.calibration import Calibration, Sketch, flat_levels
from datagen.recipe.library import library_of
from lorweb_bench.data.composition import joined_id

Steps = tuple[str, ...]  # ids of single transformations in order; none: the image as it is


class MedianTest:
    """Whether the median of `count` values is `least` or more, as soon as that is certain.

    >>> test = MedianTest(4, 8.0)
    >>> for value in (9.0, 10.0, 11.0):
    ...     test.add(value)
    >>> test.passed
    True
    """

    def __init__(self, count: int, least: float) -> None:
        """Expect `count` values and compare their median with `least`."""
        self.count = count
        self.least = least
        self.passed: bool | None = None  # None as long as it depends on values to come
        self._values: list[float] = []

    def add(self, value: float) -> None:
        """Take the next value."""
        self._values.append(value)
        high = sum(known >= self.least for known in self._values)
        for answer, votes in ((True, high), (False, len(self._values) - high)):
            if votes > self.count // 2:
                self.passed = answer
        if self.passed is None and len(self._values) == self.count:
            self.passed = bool(np.median(self._values) >= self.least)


def sketch_if_visible(
    calibration: Calibration, specs: Sequence[Mapping[str, Any]], least: float
) -> Sketch | None:
    """The sketch of a composition of which every step can be seen.

    A composition can be seen where it changes an image by `least` levels, and a step of it where
    the image differs by as much from what it is without that step: both in the median over the
    images.

    Args:
        calibration: The images, and what is known of single transformations on them.
        specs: The steps in order, each a single transformation with its `id`.
        least: The least RMSE, in levels (0-255).

    Returns:
        The sketch; None where the composition or a step of it cannot be seen, or where it fails on
        an image. What fails without one of its steps counts as an image without any step.
    """
    run = _Runs(calibration, specs)
    whole: Steps = tuple(run.specs)
    without = [whole[:i] + whole[i + 1 :] for i in reversed(range(len(whole)))]
    tests = {other: MedianTest(len(calibration.images), least) for other in ((), *without)}
    pixels, blanks = [], []
    for number in range(len(calibration.images)):
        run.begin(number)
        try:
            result = run.result(whole)
        except ItemFailure:
            return None
        pixels.append(calibration.select(result, number))
        blanks.append(blank(result[::2, ::2]))
        for other in [other for other, test in tests.items() if test.passed is None]:
            try:
                other_pixels = run.pixels(other)
            except ItemFailure:
                del tests[other]
                continue
            tests[other].add(flat_levels(pixels[-1], other_pixels))
            if tests[other].passed is False:
                return None
    return Sketch(np.concatenate(pixels), float(np.median(blanks)))


class _Runs:
    """Runs steps on one image at a time, and none twice that begin alike."""

    def __init__(self, calibration: Calibration, specs: Sequence[Mapping[str, Any]]) -> None:
        self.calibration = calibration
        self.specs = {spec["id"]: spec for spec in specs}
        self._number = 0
        self._results: dict[Steps, np.ndarray] = {}
        self._by_image: dict[Steps, list[np.ndarray]] = {}

    def begin(self, number: int) -> None:
        """Turn to another image."""
        self._number = number
        self._results = {(): self.calibration.images[number]}

    def result(self, steps: Steps) -> np.ndarray:
        """What steps make of the image."""
        if steps not in self._results:
            before = self.result(steps[:-1]) if len(steps) > 1 else None
            spec = self.specs[steps[-1]]
            with failing_items("it fails on an image"):
                if before is None:
                    made = self.calibration.single(steps[-1], spec, self._number)
                else:
                    made = library_of(self.calibration.library).apply(spec, before)
            self._results[steps] = made
        return self._results[steps]

    def pixels(self, steps: Steps) -> np.ndarray:
        """The pixels of what steps make of the image, from a sketch where there is one."""
        if len(steps) == 1 or (steps and self.calibration.known_sketch(joined_id(steps))):
            return self._from_sketch(steps)[self._number]
        return self.calibration.select(self.result(steps), self._number)

    def _from_sketch(self, steps: Steps) -> list[np.ndarray]:
        if steps not in self._by_image:
            sketch = self.calibration.known_sketch(joined_id(steps))
            if sketch is None:
                sketch = self.calibration.sketch(steps[0], self.specs[steps[0]])
            self._by_image[steps] = self.calibration.by_image(sketch)
        return self._by_image[steps]
