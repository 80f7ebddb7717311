"""Where pixels come from: against what the transformation does to a picture."""

from typing import Any

import cv2
import numpy as np
import pytest

from datagen.sources.scenes.compose import scene
from datagen.transformations import library

SIDE = 128


def spec(family: str, **parameters: Any) -> dict[str, Any]:
    """A transformation."""
    return library().describe(family, parameters)


GEOMETRIC = [
    spec("flip", axis="vertical"),
    spec("rotate", degrees=90),
    spec("translate", right=0.25, down=0.5),
    spec("zoom_in", factor=2.0),
    spec("zoom_out", factor=0.55),
    spec("swirl", degrees=90),
    spec("mirror_half", side="left"),
    spec("quadrants", arrangement="clockwise"),
    spec("perspective", side="top", amount=0.18),
]


@pytest.mark.parametrize("transformation", GEOMETRIC, ids=lambda t: t["id"])
def test_reading_the_picture_at_the_displaced_places_gives_the_result(
    transformation: dict[str, Any],
) -> None:
    picture = cv2.GaussianBlur(scene(3, SIDE, SIDE), (0, 0), 3.0)
    shift, known = library().displacement(transformation, SIDE)
    nodes = np.arange(2, SIDE, 4, dtype=np.float32) - 0.5  # the middle of four pixels
    x = nodes[None] + shift[0] * SIDE / 2
    y = nodes[:, None] + shift[1] * SIDE / 2
    read = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    result = library().apply(transformation, picture).astype(np.float32)
    truth = (result[1::4, 1::4] + result[1::4, 2::4] + result[2::4, 1::4] + result[2::4, 2::4]) / 4
    difference = np.abs(read - truth).mean(2)[known > 0]
    assert known.mean() > 0.2 and difference.mean() < 2.0 and np.quantile(difference, 0.95) < 6.0


def test_colours_move_nothing_and_copies_neither() -> None:
    for still in (None, spec("gamma", value=2.4), spec("border", shade="red", width=0.1)):
        shift, known = library().displacement(still, SIDE)
        assert not shift.any() and known.all() and shift.shape == (2, 32, 32)


def test_compositions_move_as_their_geometric_steps_do() -> None:
    flip, gamma = spec("flip", axis="horizontal"), spec("gamma", value=2.4)
    alone = library().displacement(flip, SIDE)
    for both in (library().compose(gamma, flip), library().compose(flip, gamma)):
        composed = library().displacement(both, SIDE)
        assert all(np.array_equal(x, y) for x, y in zip(alone, composed, strict=True))


def test_nothing_is_known_of_other_families_that_move_pixels() -> None:
    moving = library().compose(spec("flip", axis="vertical"), spec("polaroid", foot=0.15))
    assert not library().displacement(moving, SIDE)[1].any()


def test_what_was_painted_comes_from_nowhere() -> None:
    _, known = library().displacement(spec("zoom_out", factor=0.55), SIDE)
    assert not known[:6].any() and known[12:20, 12:20].all()
