"""A picture of the whole library: every preset run on one image, with its name underneath."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from datagen.transformations.catalogue import Library

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

CAPTION = 48  # pixels under each picture: four lines of small letters
LINE = 11  # pixels from one line of small letters to the next
GAP = 8
TITLE = 30


@dataclass
class Section:
    """One kind: its pictures with the lines under each, and what the parameters take."""

    limits: list[str] = field(default_factory=list)
    pictures: list[tuple[list[str], np.ndarray]] = field(default_factory=list)


def gallery(library: Library, image: np.ndarray, columns: int = 14) -> Image:
    """Draw each kind as a heading, what its parameters take, and a grid of its presets.

    Families that draw a fresh seed are shown with seed 0, so that the gallery is a pure function of
    library and image.

    Args:
        library: What is drawn.
        image: uint8 H x W x 3; a short side of 64 to 256 pixels makes a picture that can be read.
        columns: How many pictures stand beside each other.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = image.shape[:2]
    cell = max(width, 96) + GAP, height + CAPTION + GAP
    sections = _sections(library, image)
    total = sum(_height(section, cell[1], columns) for section in sections.values())
    page = Image.new("RGB", (columns * cell[0] + GAP, total + GAP), "white")
    draw, small, large = (
        ImageDraw.Draw(page),
        ImageFont.load_default(10),
        ImageFont.load_default(18),
    )
    top = GAP
    for title, section in sections.items():
        draw.text((GAP, top), title, "black", large)
        legend = top + TITLE
        _write(draw, (GAP, legend), section.limits, page.width - 2 * GAP, small)
        first = legend + len(section.limits) * LINE
        for index, (lines, picture) in enumerate(section.pictures):
            left, row = GAP + index % columns * cell[0], first + index // columns * cell[1]
            page.paste(Image.fromarray(picture), (left, row))
            _write(draw, (left, row + height + 1), lines, cell[0] - GAP, small)
        top += _height(section, cell[1], columns)
    return page


def _height(section: Section, row: int, columns: int) -> int:
    rows = -(-len(section.pictures) // columns)
    return TITLE + len(section.limits) * LINE + rows * row


def _write(
    draw: ImageDraw, place: tuple[int, int], lines: list[str], width: int, font: Font
) -> None:
    """Small lines under each other, each shortened to a width in pixels."""
    left, top = place
    for number, line in enumerate(lines):
        draw.text((left, top + number * LINE), _fitted(line, width, font), "black", font)


def _sections(library: Library, image: np.ndarray) -> dict[str, Section]:
    """What is shown, by the heading it stands under."""
    sections = {"the picture": Section(pictures=[(["as it is"], image)])}
    for family in library.families.values():
        section = sections.setdefault(family.kind, Section())
        if family.parameters:
            section.limits.append(f"{family.name}: {family.meanings}")
        for values in family.presets:
            fixed = values if family.deterministic else {**values, "seed": 0}
            picture = library.apply({"family": family.name, "parameters": fixed}, image)
            lines = [family.name, *(f"{name} {value}" for name, value in values.items())]
            section.pictures.append((lines, picture))
    return sections


def _fitted(line: str, width: int, font: Font) -> str:
    """The line, shortened until it is at most `width` pixels wide."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
