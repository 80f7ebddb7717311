"""Kind overlay: patterns, letters and stickers laid over the picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from datagen.transformations.arrays import blend, centred, choose, colour, grid, paint, unit
from datagen.transformations.family import Family, presets

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
    return cv2.fillPoly(image.copy(), [fixed], colour(shade), cv2.LINE_AA, FRACTION)


def stripes(image: np.ndarray, degrees: float, period: float, shade: str) -> np.ndarray:
    x, y = grid(*image.shape[:2])
    angle = np.radians(degrees)
    across = (y * np.cos(angle) + x * np.sin(angle)) / (period * min(image.shape[:2]))
    return blend(image, colour(shade), np.where(across % 1 < 0.4, np.float32(0.75), np.float32(0)))


def lines(image: np.ndarray, cells: int, shade: str) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    off = (
        np.minimum(np.abs((x * cells / 2 + 0.5) % 1 - 0.5), np.abs((y * cells / 2 + 0.5) % 1 - 0.5))
        / cells
    )
    return paint(image, (off < 0.016), shade)


def dots(image: np.ndarray, cells: int, shade: str) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    away = np.hypot((x * cells / 2) % 1 - 0.5, (y * cells / 2) % 1 - 0.5)
    return blend(image, colour(shade), np.clip((0.28 - away) * 8 + 0.5, 0, 1))


def veil_checks(image: np.ndarray, cells: int, shade: str) -> np.ndarray:
    x, y = unit(*image.shape[:2])
    checks = (np.floor(x * cells) + np.floor(y * cells)) % 2
    return blend(image, colour(shade), checks * np.float32(0.6))


@lru_cache(maxsize=32)
def _written(height: int, width: int, text: str, size: float, angle: float) -> np.ndarray:
    """A weight that is 1 on the letters of a line of text across the middle, H x W, `size` in shares of the short side."""
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


def letter(image: np.ndarray, text: str, shade: str) -> np.ndarray:
    return blend(image, colour(shade), _written(*image.shape[:2], text, 0.85, 0.0))


def watermark(image: np.ndarray, text: str, degrees: float) -> np.ndarray:
    written = _written(*image.shape[:2], text, 1.3 / max(2, len(text)), degrees)
    return blend(image, (255, 255, 255), written * np.float32(0.75))


def sticker(image: np.ndarray, shape: str, shade: str, place: str) -> np.ndarray:
    height, width = image.shape[:2]
    across, down = choose(PLACES, place, "place")
    points = choose(SHAPES, shape, "shape") * 0.22 * min(height, width) + (
        across * width,
        down * height,
    )
    return _polygon(image, points, shade)


def ribbon(image: np.ndarray, corner: str, shade: str) -> np.ndarray:
    x, y = unit(*image.shape[:2])
    right, bottom = choose(
        {"top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1)},
        corner,
        "corner",
    )
    reach = np.abs(x - right) + np.abs(y - bottom)
    return paint(image, ((reach > 0.35) & (reach < 0.6)), shade)


def band(image: np.ndarray, axis: str, place: float, shade: str) -> np.ndarray:
    across = unit(*image.shape[:2])[choose({"horizontal": 1, "vertical": 0}, axis, "axis")]
    return paint(image, (np.abs(across - place) < 0.09), shade)


def crossed_out(image: np.ndarray, shade: str) -> np.ndarray:
    x, y = unit(*image.shape[:2])
    near = np.minimum(np.abs(x - y), np.abs(x + y - 1)) < 0.075
    return paint(image, near, shade)


def rings(image: np.ndarray, count: int, shade: str) -> np.ndarray:
    radius = np.hypot(*centred(*image.shape[:2]))
    return blend(
        image, colour(shade), np.where((radius * count) % 1 > 0.65, np.float32(0.8), np.float32(0))
    )


def rays(image: np.ndarray, count: int, shade: str) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    turn = np.arctan2(y, x) / (2 * np.pi) * count
    return blend(image, colour(shade), np.where(turn % 1 < 0.5, np.float32(0.6), np.float32(0)))


def confetti(image: np.ndarray, count: int, seed: int) -> np.ndarray:
    height, width = image.shape[:2]
    draw = np.random.default_rng(seed)
    result = image.copy()
    names = ("red", "yellow", "green", "blue", "magenta", "cyan")
    for place, tone in zip(
        draw.random((count, 2)), draw.integers(0, len(names), count), strict=True
    ):
        centre = round(place[0] * width), round(place[1] * height)
        cv2.circle(
            result, centre, max(1, round(0.04 * min(height, width))), colour(names[tone]), -1
        )
    return result


SHADE = {"shade": "a named colour"}
FAMILIES = (
    Family(
        "stripes",
        KIND,
        True,
        {"degrees": "direction, 0-180", "period": "share of the short side, 0.05-0.5", **SHADE},
        presets(
            "degrees period shade",
            (0, 0.25, "white"),
            (45, 0.25, "white"),
            (90, 0.25, "white"),
            (135, 0.25, "white"),
            (0, 0.15, "black"),
            (90, 0.15, "black"),
            (45, 0.25, "red"),
        ),
        stripes,
        "lay {shade} stripes at {degrees} degrees with a period of {period} over the picture".format,
    ),
    Family(
        "lines",
        KIND,
        True,
        {"cells": "cells along the short side, 2-16", **SHADE},
        presets(
            "cells shade",
            (3, "white"),
            (5, "white"),
            (8, "white"),
            (3, "black"),
            (5, "black"),
            (8, "black"),
        ),
        lines,
        "draw a {shade} grid of {cells} cells over the picture".format,
    ),
    Family(
        "dots",
        KIND,
        True,
        {"cells": "dots along the short side, 2-12", **SHADE},
        presets(
            "cells shade", (4, "white"), (6, "white"), (8, "white"), (4, "magenta"), (6, "magenta")
        ),
        dots,
        "lay {cells} rows of {shade} dots over the picture".format,
    ),
    Family(
        "veil_checks",
        KIND,
        True,
        {"cells": "cells along each side, 2-16", **SHADE},
        presets(
            "cells shade",
            (2, "black"),
            (4, "black"),
            (6, "black"),
            (4, "white"),
            (6, "white"),
            (4, "blue"),
        ),
        veil_checks,
        "lay a see-through {shade} checkerboard of {cells} cells over the picture".format,
    ),
    Family(
        "letter",
        KIND,
        True,
        {"text": "one or two characters", **SHADE},
        presets(
            "text shade",
            ("A", "red"),
            ("K", "yellow"),
            ("S", "blue"),
            ("8", "white"),
            ("4", "green"),
            ("X", "purple"),
        ),
        letter,
        "write a large {shade} {text} on the picture".format,
    ),
    Family(
        "watermark",
        KIND,
        True,
        {"text": "a short word", "degrees": "counterclockwise degrees, -90 to 90"},
        presets("text degrees", ("DRAFT", 0), ("DRAFT", 40), ("COPY", 0), ("COPY", -40)),
        watermark,
        "write {text} across the picture in white at {degrees} degrees".format,
    ),
    Family(
        "sticker",
        KIND,
        True,
        {"shape": ", ".join(SHAPES), **SHADE, "place": ", ".join(PLACES)},
        presets(
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
        sticker,
        "stick a {shade} {shape} on the {place}".format,
    ),
    Family(
        "ribbon",
        KIND,
        True,
        {"corner": "top left, top right, bottom left or bottom right", **SHADE},
        presets(
            "corner shade",
            ("top left", "red"),
            ("top right", "red"),
            ("bottom left", "green"),
            ("bottom right", "green"),
        ),
        ribbon,
        "put a {shade} ribbon across the {corner} corner".format,
    ),
    Family(
        "band",
        KIND,
        True,
        {"axis": "horizontal or vertical", "place": "share of the size, 0-1", **SHADE},
        presets(
            "axis place shade",
            ("horizontal", 0.2, "black"),
            ("horizontal", 0.5, "black"),
            ("horizontal", 0.8, "black"),
            ("vertical", 0.2, "yellow"),
            ("vertical", 0.5, "yellow"),
            ("vertical", 0.8, "yellow"),
        ),
        band,
        "put a {axis} {shade} band at {place}".format,
    ),
    Family(
        "crossed_out",
        KIND,
        True,
        SHADE,
        presets("shade", "red", "black", "white"),
        crossed_out,
        "cross the picture out in {shade}".format,
    ),
    Family(
        "rings",
        KIND,
        True,
        {"count": "rings per half short side, 1-8", **SHADE},
        presets("count shade", (2, "white"), (3, "white"), (5, "white"), (3, "red")),
        rings,
        "lay {shade} rings, {count} per half side, over the picture".format,
    ),
    Family(
        "rays",
        KIND,
        True,
        {"count": "rays around the centre, 2-24", **SHADE},
        presets("count shade", (4, "yellow"), (8, "yellow"), (12, "yellow"), (8, "black")),
        rays,
        "lay {count} see-through {shade} rays from the centre over the picture".format,
    ),
    Family(
        "confetti",
        KIND,
        True,
        {"count": "pieces, 5-200", "seed": "integer, fixes the places"},
        presets("count seed", (15, 6), (40, 6), (90, 6)),
        confetti,
        "scatter {count} pieces of confetti over the picture, pattern {seed}".format,
    ),
)
