"""The picture of the whole library."""

import cv2
import numpy as np
import skimage.data

from datagen.transformations import Library, library
from datagen.transformations.gallery import gallery


def test_the_gallery_shows_every_preset() -> None:
    image = cv2.resize(skimage.data.astronaut(), (64, 64), interpolation=cv2.INTER_AREA)
    some = Library(library().families[name] for name in ("invert", "fresh_noise", "sticker"))
    page = gallery(some, image, columns=5)
    assert page.tobytes() == gallery(some, image, columns=5).tobytes()
    pixels = np.asarray(page)
    for family in some.families.values():
        for values in family.presets:
            fixed = values if family.deterministic else {**values, "seed": 0}
            shown = some.apply({"family": family.name, "parameters": fixed}, image)
            squares = cv2.matchTemplate(pixels, shown, cv2.TM_SQDIFF)
            assert squares.min() / shown.size < 0.1, values
