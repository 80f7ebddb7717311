"""Kind overlay: patterns, letters and stickers laid over the picture."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    AXES,
    AXIS,
    COLOURS,
    CORNERS,
    NAMED_COLOUR,
    blend,
    centred,
    from_centre,
    grid,
    paint,
    pattern,
    unit,
)
from datagen.transformations.declaration import SEED, Parameter, family, presets

KIND = "overlay"
PLACES = {
    "top left": (0.27, 0.27),
    "top right": (0.73, 0.27),
    "centre": (0.5, 0.5),
    "bottom left": (0.27, 0.73),
    "bottom right": (0.73, 0.73),
}
ANGLE = np.linspace(0, 2 * np.pi, 61)[:-1]
HEART = (
    np.stack(
        [
            16 * np.sin(ANGLE) ** 3,
            -(
                13 * np.cos(ANGLE)
                - 5 * np.cos(2 * ANGLE)
                - 2 * np.cos(3 * ANGLE)
                - np.cos(4 * ANGLE)
            ),
        ],
        1,
    )
    / 16
)
STAR = np.array(
    [
        [(1, 0.42)[k % 2] * np.sin(k * np.pi / 5), -(1, 0.42)[k % 2] * np.cos(k * np.pi / 5)]
        for k in range(10)
    ]
)
SHAPES = {
    "circle": np.stack([np.sin(ANGLE), np.cos(ANGLE)], 1),
    "square": np.array([[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]]),
    "triangle": np.array([[0, -1], [0.95, 0.75], [-0.95, 0.75]]),
    "star": STAR * 1.1,
    "heart": HEART,
}
FRACTION = 4  # bits of sub-pixel places in OpenCV's drawing


def _polygon(image: np.ndarray, points: np.ndarray, shade: str) -> np.ndarray:
    """Filled, anti-aliased, with points in pixels, N x 2."""
    fixed = np.rint(points * (1 << FRACTION)).astype(np.int32)
    return cv2.fillPoly(image.copy(), [fixed], COLOURS[shade], cv2.LINE_AA, FRACTION)


@family(
    "stripes",
    kind=KIND,
    presets=presets(
        "degrees period shade",
        (0, 0.25, "white"),
        (45, 0.25, "white"),
        (90, 0.25, "white"),
        (135, 0.25, "white"),
        (0, 0.15, "black"),
        (90, 0.15, "black"),
        (45, 0.25, "red"),
    ),
    degrees=Parameter("direction of the stripes", 0, 180, unit="degrees"),
    period=Parameter("distance between stripes", 0.05, 0.5, unit="of the short side"),
    shade=NAMED_COLOUR,
    instruction="lay {shade} stripes at {degrees} degrees with a period of {period} over the "
    "picture",
)
def stripes(image: np.ndarray, degrees: float, period: float, shade: str) -> np.ndarray:
    """Lay stripes over the picture that let a quarter of it through."""
    return blend(image, COLOURS[shade], _striped(*image.shape[:2], degrees, period))


@pattern
def _striped(height: int, width: int, degrees: float, period: float) -> np.ndarray:
    """A weight that is 0.75 on stripes, H x W."""
    x, y = grid(height, width)
    angle = np.radians(degrees)
    across = (y * np.cos(angle) + x * np.sin(angle)) / (period * min(height, width))
    return np.where(across % 1 < 0.4, np.float32(0.75), np.float32(0))


@family(
    "lines",
    kind=KIND,
    presets=presets(
        "cells shade",
        (3, "white"),
        (5, "white"),
        (8, "white"),
        (3, "black"),
        (5, "black"),
        (8, "black"),
    ),
    cells=Parameter("cells along the short side", 2, 16, whole=True),
    shade=NAMED_COLOUR,
    instruction="draw a {shade} grid of {cells} cells over the picture",
)
def lines(image: np.ndarray, cells: int, shade: str) -> np.ndarray:
    """Draw a grid of thin lines."""
    return paint(image, _on_lines(*image.shape[:2], cells), shade)


@pattern
def _on_lines(height: int, width: int, cells: int) -> np.ndarray:
    """Whether pixels lie on the lines between cells, H x W."""
    x, y = centred(height, width)
    across, down = (np.abs((places * cells / 2 + 0.5) % 1 - 0.5) for places in (x, y))
    return np.minimum(across, down) / cells < 0.016


@family(
    "dots",
    kind=KIND,
    presets=presets(
        "cells shade", (4, "white"), (6, "white"), (8, "white"), (4, "magenta"), (6, "magenta")
    ),
    cells=Parameter("dots along the short side", 2, 12, whole=True),
    shade=NAMED_COLOUR,
    instruction="lay {cells} rows of {shade} dots over the picture",
)
def dots(image: np.ndarray, cells: int, shade: str) -> np.ndarray:
    """Draw rows of dots."""
    return blend(image, COLOURS[shade], _dotted(*image.shape[:2], cells))


@pattern
def _dotted(height: int, width: int, cells: int) -> np.ndarray:
    """A weight that is 1 in the dot of each cell, H x W."""
    x, y = centred(height, width)
    away = np.hypot((x * cells / 2) % 1 - 0.5, (y * cells / 2) % 1 - 0.5)
    return np.clip((0.28 - away) * 8 + 0.5, 0, 1)


@family(
    "veil_checks",
    kind=KIND,
    presets=presets(
        "cells shade",
        (2, "black"),
        (4, "black"),
        (6, "black"),
        (4, "white"),
        (6, "white"),
        (4, "blue"),
    ),
    cells=Parameter("cells along each side", 2, 16, whole=True),
    shade=NAMED_COLOUR,
    instruction="lay a see-through {shade} checkerboard of {cells} cells over the picture",
)
def veil_checks(image: np.ndarray, cells: int, shade: str) -> np.ndarray:
    """Blend every other cell of a checkerboard with a colour."""
    return blend(image, COLOURS[shade], _checked(*image.shape[:2], cells))


@pattern
def _checked(height: int, width: int, cells: int) -> np.ndarray:
    """A weight that is 0.6 on every other cell of a checkerboard, H x W."""
    x, y = unit(height, width)
    return (np.floor(x * cells) + np.floor(y * cells)) % 2 * np.float32(0.6)


@pattern
def _written(height: int, width: int, text: str, size: float, angle: float) -> np.ndarray:
    """A weight that is 1 on a line of letters across the middle, H x W.

    `size` is that of the letters in shares of the short side, `angle` turns them counterclockwise.
    """
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (width, height))
    font = ImageFont.load_default(max(6, round(size * min(height, width))))
    ImageDraw.Draw(page).text(
        (width / 2, height / 2),
        text,
        255,
        font,
        anchor="mm",
        stroke_width=round(size * min(height, width) / 24),
    )
    return np.asarray(page.rotate(angle), np.float32) / 255


@family(
    "letter",
    kind=KIND,
    presets=presets(
        "text shade",
        ("A", "red"),
        ("K", "yellow"),
        ("S", "blue"),
        ("8", "white"),
        ("4", "green"),
        ("X", "purple"),
    ),
    text=Parameter("what is written", longest=2),
    shade=NAMED_COLOUR,
    instruction="write a large {shade} {text} on the picture",
)
def letter(image: np.ndarray, text: str, shade: str) -> np.ndarray:
    """Write one or two large characters across the middle."""
    return blend(image, COLOURS[shade], _written(*image.shape[:2], text, 0.85, 0.0))


@family(
    "watermark",
    kind=KIND,
    presets=presets("text degrees", ("DRAFT", 0), ("DRAFT", 40), ("COPY", 0), ("COPY", -40)),
    text=Parameter("a short word", longest=16),
    degrees=Parameter("counterclockwise turn", -90, 90, unit="degrees"),
    instruction="write {text} across the picture in white at {degrees} degrees",
)
def watermark(image: np.ndarray, text: str, degrees: float) -> np.ndarray:
    """Write a see-through white word across the middle."""
    written = _written(*image.shape[:2], text, 1.3 / max(2, len(text)), degrees)
    return blend(image, (255, 255, 255), written * np.float32(0.75))


@family(
    "sticker",
    kind=KIND,
    presets=presets(
        "shape shade place",
        ("circle", "red", "top left"),
        ("star", "yellow", "top right"),
        ("heart", "red", "centre"),
        ("triangle", "blue", "bottom left"),
        ("square", "green", "bottom right"),
        ("circle", "blue", "centre"),
        ("star", "yellow", "bottom left"),
        ("heart", "pink", "bottom right"),
        ("triangle", "black", "centre"),
        ("square", "white", "top left"),
    ),
    shape=Parameter("what is stuck on", choices=tuple(SHAPES)),
    shade=NAMED_COLOUR,
    place=Parameter("where", choices=tuple(PLACES)),
    instruction="stick a {shade} {shape} on the {place}",
)
def sticker(image: np.ndarray, shape: str, shade: str, place: str) -> np.ndarray:
    """Draw a filled shape at one of five places."""
    height, width = image.shape[:2]
    across, down = PLACES[place]
    points = SHAPES[shape] * 0.22 * min(height, width) + (
        across * width,
        down * height,
    )
    return _polygon(image, points, shade)


@family(
    "ribbon",
    kind=KIND,
    presets=presets(
        "corner shade",
        ("top left", "red"),
        ("top right", "red"),
        ("bottom left", "green"),
        ("bottom right", "green"),
    ),
    corner=Parameter("where", choices=tuple(CORNERS)),
    shade=NAMED_COLOUR,
    instruction="put a {shade} ribbon across the {corner} corner",
)
def ribbon(image: np.ndarray, corner: str, shade: str) -> np.ndarray:
    """Paint a ribbon across a corner."""
    x, y = unit(*image.shape[:2])
    right, bottom = CORNERS[corner]
    reach = np.abs(x - right) + np.abs(y - bottom)
    return paint(image, ((reach > 0.35) & (reach < 0.6)), shade)


@family(
    "band",
    kind=KIND,
    presets=presets(
        "axis place shade",
        ("horizontal", 0.2, "black"),
        ("horizontal", 0.5, "black"),
        ("horizontal", 0.8, "black"),
        ("vertical", 0.2, "yellow"),
        ("vertical", 0.5, "yellow"),
        ("vertical", 0.8, "yellow"),
    ),
    axis=AXIS,
    place=Parameter("place of the middle of the band", 0, 1, unit="of the size"),
    shade=NAMED_COLOUR,
    instruction="put a {axis} {shade} band at {place}",
)
def band(image: np.ndarray, axis: str, place: float, shade: str) -> np.ndarray:
    """Paint a band across the picture."""
    across = unit(*image.shape[:2])[AXES[axis]]
    return paint(image, (np.abs(across - place) < 0.09), shade)


@family(
    "crossed_out",
    kind=KIND,
    presets=presets("shade", "red", "black", "white"),
    shade=NAMED_COLOUR,
    instruction="cross the picture out in {shade}",
)
def crossed_out(image: np.ndarray, shade: str) -> np.ndarray:
    """Paint a cross from corner to corner."""
    x, y = unit(*image.shape[:2])
    near = np.minimum(np.abs(x - y), np.abs(x + y - 1)) < 0.075
    return paint(image, near, shade)


@family(
    "rings",
    kind=KIND,
    presets=presets("count shade", (2, "white"), (3, "white"), (5, "white"), (3, "red")),
    count=Parameter("rings per half short side", 1, 8, whole=True),
    shade=NAMED_COLOUR,
    instruction="lay {shade} rings, {count} per half side, over the picture",
)
def rings(image: np.ndarray, count: int, shade: str) -> np.ndarray:
    """Blend rings around the centre with a colour."""
    return blend(image, COLOURS[shade], _ringed(*image.shape[:2], count))


@pattern
def _ringed(height: int, width: int, count: int) -> np.ndarray:
    """A weight that is 0.8 on rings around the centre, H x W."""
    rings_passed = from_centre(height, width) * count
    return np.where(rings_passed % 1 > 0.65, np.float32(0.8), np.float32(0))


@family(
    "rays",
    kind=KIND,
    presets=presets("count shade", (4, "yellow"), (8, "yellow"), (12, "yellow"), (8, "black")),
    count=Parameter("rays around the centre", 2, 24, whole=True),
    shade=NAMED_COLOUR,
    instruction="lay {count} see-through {shade} rays from the centre over the picture",
)
def rays(image: np.ndarray, count: int, shade: str) -> np.ndarray:
    """Blend rays from the centre with a colour."""
    return blend(image, COLOURS[shade], _rayed(*image.shape[:2], count))


@pattern
def _rayed(height: int, width: int, count: int) -> np.ndarray:
    """A weight that is 0.6 on rays from the centre, H x W."""
    x, y = centred(height, width)
    turn = np.arctan2(y, x) / (2 * np.pi) * count
    return np.where(turn % 1 < 0.5, np.float32(0.6), np.float32(0))


@family(
    "confetti",
    kind=KIND,
    presets=presets("count seed", (15, 6), (40, 6), (90, 6)),
    count=Parameter("number of pieces", 5, 200, whole=True),
    seed=SEED,
    instruction="scatter {count} pieces of confetti over the picture, pattern {seed}",
)
def confetti(image: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Scatter small discs of six colours."""
    height, width = image.shape[:2]
    draw = np.random.default_rng(seed)
    result = image.copy()
    names = ("red", "yellow", "green", "blue", "magenta", "cyan")
    for spot, tone in zip(
        draw.random((count, 2)), draw.integers(0, len(names), count), strict=True
    ):
        centre = round(spot[0] * width), round(spot[1] * height)
        cv2.circle(
            result, centre, max(1, round(0.04 * min(height, width))), COLOURS[names[tone]], -1
        )
    return result
