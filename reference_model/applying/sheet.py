"""Pictures side by side with their names, of any size: what `apply --sheet` and a walk write."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from lorweb_bench.reports.fonts import font_and_text, plain_font
from lorweb_bench.reports.sheet import GROUND, INK, QUIET, fit_line, fit_panel

SMALLEST, LARGEST = 160, 512  # long edges in pixels that panels are drawn at
MARGIN, GAP, WIDE_GAP, LABEL, LINE = 24, 10, 36, 30, 26


@dataclass(frozen=True)
class Labelled:
    """A picture, its name under it, and whether it begins a group, after a wider gap."""

    image: Image.Image
    label: str
    begins_group: bool = False


def draw_sheet(
    rows: Sequence[Sequence[Labelled]], lines: Sequence[str] = (), edge: int | None = None
) -> Image.Image:
    """Draw rows of pictures with their names, and lines of text under them.

    Args:
        rows: the pictures; those of a row stand side by side, each in its own aspect.
        lines: what is said under the rows, one line each.
        edge: long edge of every picture in pixels; without it that of the largest, within 160
            and 512.
    """
    if edge is None:
        largest = max(max(cell.image.size) for row in rows for cell in row)
        edge = min(LARGEST, max(SMALLEST, largest))
    fitted = [[fit_panel(cell.image, edge) for cell in row] for row in rows]
    widths = [_row_width(row, images) for row, images in zip(rows, fitted, strict=True)]
    heights = [max(image.height for image in images) + LABEL for images in fitted]
    width = max(widths) + 2 * MARGIN
    height = sum(heights) + GAP * (len(rows) - 1) + LINE * len(lines) + 2 * MARGIN
    sheet = Image.new("RGB", (width, height), GROUND)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for row, images, row_height in zip(rows, fitted, heights, strict=True):
        _draw_row(sheet, draw, row, images, top, row_height)
        top += row_height + GAP
    for line in lines:
        font, text = font_and_text(line, 15)
        draw.text((MARGIN, top), fit_line(draw, text, font, width - 2 * MARGIN), QUIET, font)
        top += LINE
    return sheet


def _row_width(row: Sequence[Labelled], images: Sequence[Image.Image]) -> int:
    gaps = [WIDE_GAP if cell.begins_group else GAP for cell in row[1:]]
    return sum(image.width for image in images) + sum(gaps)


def _draw_row(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    row: Sequence[Labelled],
    images: Sequence[Image.Image],
    top: int,
    height: int,
) -> None:
    left = MARGIN
    for number, (cell, image) in enumerate(zip(row, images, strict=True)):
        if number:
            left += WIDE_GAP if cell.begins_group else GAP
        y = top + (height - LABEL - image.height) // 2
        sheet.paste(image, (left, y))
        place = (left + image.width / 2, top + height - LABEL / 2)
        draw.text(place, cell.label, INK, plain_font(17), anchor="mm")
        left += image.width


def analogy_row(
    pairs: Sequence[tuple[Image.Image, Image.Image]],
    b: Image.Image,
    answer: Image.Image | None = None,
) -> list[Labelled]:
    """The row a, a', b, b'; with a second pair a, a', a2, a2', b."""
    row = []
    for number, (a, a_prime) in enumerate(pairs, 1):
        mark = "" if number == 1 else str(number)
        row += [Labelled(a, f"a{mark}", number > 1), Labelled(a_prime, f"a{mark}'")]
    row.append(Labelled(b, "b", True))
    if answer is not None:
        row.append(Labelled(answer, "b'"))
    return row


def walk_row(frames: Sequence[Image.Image], weights: Sequence[float]) -> list[Labelled]:
    """The frames of a walk with their weights."""
    return [Labelled(x, f"{w:.2g}") for x, w in zip(frames, weights, strict=True)]


def even_weights(steps: int) -> list[float]:
    """Evenly spaced weights from 0 to 1, both among them."""
    return [number / (steps - 1) for number in range(steps)]
