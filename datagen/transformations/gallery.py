"""A picture of the whole library: every preset run on one image, with its family and parameters written underneath."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datagen.transformations.catalogue import Library

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

CAPTION = 48  # pixels under each picture: four lines of small letters
GAP = 8
TITLE = 30


def gallery(library: Library, image: np.ndarray, columns: int = 14) -> Image:
    """Draws each kind as a heading with a grid of its presets, `columns` pictures wide, `image` itself first.

    `image` is uint8 H x W x 3; 64 to 256 px on the short side make a picture that can be read. Families that draw a fresh
    seed are shown with seed 0, so that the gallery is a pure function of library and image.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = image.shape[:2]
    cell = max(width, 96) + GAP, height + CAPTION + GAP
    sections = _sections(library, image)
    rows = sum(-(-len(pictures) // columns) for pictures in sections.values())
    page = Image.new(
        "RGB", (columns * cell[0] + GAP, rows * cell[1] + len(sections) * TITLE + GAP), "white"
    )
    draw, small, large = (
        ImageDraw.Draw(page),
        ImageFont.load_default(10),
        ImageFont.load_default(18),
    )
    top = GAP
    for title, pictures in sections.items():
        draw.text((GAP, top), title, "black", large)
        top += TITLE
        for index, (lines, picture) in enumerate(pictures):
            left, row = GAP + index % columns * cell[0], top + index // columns * cell[1]
            page.paste(Image.fromarray(picture), (left, row))
            for number, line in enumerate(lines):
                draw.text(
                    (left, row + height + 1 + number * 11),
                    _fitted(line, cell[0] - GAP, small),
                    "black",
                    small,
                )
        top += -(-len(pictures) // columns) * cell[1]
    return page


def _sections(library: Library, image: np.ndarray) -> dict[str, list[tuple[list[str], np.ndarray]]]:
    """Per kind the captions, as lines, and the pictures."""
    sections: dict[str, list[tuple[list[str], np.ndarray]]] = {
        "the picture": [(["as it is"], image)]
    }
    for family in library.families.values():
        for values in family.presets:
            fixed = values if family.deterministic else {**values, "seed": 0}
            picture = library.apply({"family": family.name, "parameters": fixed}, image)
            sections.setdefault(family.kind, []).append(
                ([family.name, *(f"{name} {value}" for name, value in values.items())], picture)
            )
    return sections


def _fitted(line: str, width: int, font: FreeTypeFont | ImageFont) -> str:
    """The line, shortened until it is at most `width` pixels wide."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
