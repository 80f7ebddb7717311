"""Sheets of labelled pictures of any size."""

import numpy as np
import pytest
from PIL import Image

from reference_model.applying.sheet import analogy_row, draw_sheet, even_weights, walk_row

RED, BLUE = (200, 30, 30), (30, 30, 200)


def columns_of(sheet: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """The columns in which a colour occurs."""
    return np.flatnonzero((np.asarray(sheet) == colour).all(2).any(0))


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (4000, 30), (64, 64)])
def test_pictures_of_any_size_stand_side_by_side_in_their_own_aspect(size: tuple[int, int]) -> None:
    odd, square = Image.new("RGB", size, RED), Image.new("RGB", (64, 64), BLUE)
    sheet = draw_sheet([analogy_row([(odd, square)], square, odd)])
    assert sheet.width < 2400 and sheet.height < 700
    red, blue = columns_of(sheet, RED), columns_of(sheet, BLUE)
    assert red.min() < blue.min() and blue.max() < red.max()


def test_a_walk_has_a_picture_for_each_weight() -> None:
    weights = even_weights(5)
    assert weights == [0, 0.25, 0.5, 0.75, 1]
    frames = [Image.new("RGB", (32, 32), BLUE)] * 5
    row = walk_row(frames, weights)
    assert [cell.label for cell in row] == ["0", "0.25", "0.5", "0.75", "1"]
    gaps = np.diff(columns_of(draw_sheet([row]), BLUE))
    assert (gaps > 1).sum() == 4
