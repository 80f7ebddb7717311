"""Contact sheets: quadruplets drawn in rows with their words, as one PNG."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from lorweb_bench.reports.fonts import Font, font_and_text, plain_font

GROUND, INK, QUIET, LINE, EMPTY = "#fbfbfa", "#1c1d1f", "#5c6066", "#dedfda", "#ececE8"
MARGIN, GAP, PANEL = 28, 6, 132
COLUMNS = 2
LINE_HEIGHT = 20
MOST = 400  # letters of a text that are looked at: two lines take fewer
NAMES = ("a", "a'", "b", "b'")


@dataclass(frozen=True)
class Row:
    """What the sheet shows of one item.

    Attributes:
        panels: Its panels; None is an empty one.
        line: Words in ink, in one line or two.
        quiet: A line below, quieter.
        sources: One more such line, for where the panels come from.
    """

    panels: Sequence[Image.Image | None]
    line: str
    quiet: str = ""
    sources: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and its rows."""

    heading: str
    rows: Sequence[Row]


def contact_sheet(
    title: str, subtitle: str, sections: Sequence[Section], names: Sequence[str] = NAMES
) -> Image.Image:
    """Draw sections of rows in two columns; panels are fitted into squares of 132 pixels, each
    with its name under it.
    """
    width = len(names) * PANEL + (len(names) - 1) * GAP
    cell = _cell_height(any(row.sources for section in sections for row in section.rows))
    total_width = 2 * MARGIN + COLUMNS * width + (COLUMNS - 1) * MARGIN
    rows = sum(-(-len(section.rows) // COLUMNS) for section in sections)
    height = 104 + rows * cell + 46 * len(sections) + MARGIN // 2
    sheet = Image.new("RGB", (total_width, height), GROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_line(draw, (MARGIN, 24), title, INK, 26, total_width - 2 * MARGIN)
    _draw_line(draw, (MARGIN, 62), subtitle, QUIET, 15, total_width - 2 * MARGIN)
    top = 100
    for section in sections:
        draw.line((MARGIN, top, total_width - MARGIN, top), LINE)
        _draw_line(draw, (MARGIN, top + 12), section.heading, INK, 18, total_width - 2 * MARGIN)
        top += 46
        for i, row in enumerate(section.rows):
            x = MARGIN + (i % COLUMNS) * (width + MARGIN)
            _draw_row(sheet, draw, row, names, (x, top + (i // COLUMNS) * cell), width)
        top += -(-len(section.rows) // COLUMNS) * cell
    return sheet


def _cell_height(has_sources: bool) -> int:
    return PANEL + 22 + 2 * LINE_HEIGHT + 20 + 18 + LINE_HEIGHT * has_sources


def _draw_row(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    row: Row,
    names: Sequence[str],
    at: tuple[int, int],
    width: int,
) -> None:
    row_x, top = at
    for i, name in enumerate(names):
        x = row_x + i * (PANEL + GAP)
        panel = row.panels[i] if i < len(row.panels) else None
        if panel is None:
            draw.rectangle((x, top, x + PANEL - 1, top + PANEL - 1), EMPTY)
            draw.text((x + PANEL / 2, top + PANEL / 2), "?", QUIET, plain_font(28), anchor="mm")
        else:
            fitted = fit_panel(panel, PANEL)
            sheet.paste(
                fitted, (x + (PANEL - fitted.width) // 2, top + (PANEL - fitted.height) // 2)
            )
        draw.text((x + PANEL / 2, top + PANEL + 11), name, QUIET, plain_font(13), anchor="mm")
    below = top + PANEL + 22
    font, text = font_and_text(row.line[:MOST], 15)
    for line in _wrap(draw, text, font, width):
        draw.text((row_x, below), line, INK, font)
        below += LINE_HEIGHT
    for line in filter(None, (row.quiet, row.sources)):
        _draw_line(draw, (row_x, below + 1), line, QUIET, 13, width)
        below += LINE_HEIGHT


def _draw_line(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    colour: str,
    size: int,
    width: float,
) -> None:
    """Draw a text in one line, in a font that has its letters."""
    font, text = font_and_text(text[:MOST], size)
    draw.text(at, fit_line(draw, text, font, width), colour, font)


def fit_panel(image: Image.Image, edge: int) -> Image.Image:
    """The image with its long edge at `edge` pixels, for looking at: crisp when made larger,
    smooth when made smaller.
    """
    scale = edge / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX)


def _wrap(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: Font,
    width: float,
) -> list[str]:
    """The text in one line or two; what the second cannot take ends in an ellipsis."""
    first: list[str] = []
    words = text[:MOST].split()
    while words and draw.textlength(" ".join([*first, words[0]]), font=font) <= width:
        first.append(words.pop(0))
    if not words or not first:
        return [fit_line(draw, text, font, width)]
    return [" ".join(first), fit_line(draw, " ".join(words), font, width)]


def fit_line(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: Font,
    width: float,
) -> str:
    """The text in one line; what the width cannot take ends in an ellipsis."""
    text = " ".join(text.split())[:MOST]
    if draw.textlength(text, font=font) <= width:
        return text
    fits = bisect.bisect_right(
        range(len(text)), width, key=lambda count: draw.textlength(text[:count] + "…", font=font)
    )
    return text[: max(0, fits - 1)].rstrip() + "…"
