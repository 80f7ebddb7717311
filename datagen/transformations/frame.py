"""Kind frame: borders and surrounds. Widths are shares of the short side."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import blend, centred, choose, grid, paint, unit
from datagen.transformations.family import Family, presets

KIND = "frame"


def _rim(image: np.ndarray) -> np.ndarray:
    """Distance of each pixel centre from the nearest edge in short sides, H x W."""
    height, width = image.shape[:2]
    x, y = grid(height, width)
    nearest = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    return (nearest + 0.5) / min(height, width)


def border(image: np.ndarray, shade: str, width: float) -> np.ndarray:
    return paint(image, _rim(image) < width, shade)


def inset_frame(image: np.ndarray, shade: str, inset: float) -> np.ndarray:
    rim = _rim(image)
    return paint(image, (rim > inset) & (rim < inset + 0.05), shade)


def polaroid(image: np.ndarray, foot: float) -> np.ndarray:
    height, width = image.shape[:2]
    side = max(1, round(0.07 * min(height, width)))
    size = width - 2 * side, max(1, height - side - round(foot * height))
    result = np.full_like(image, 244)
    result[side : side + size[1], side : side + size[0]] = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA
    )
    return result


def rounded_corners(image: np.ndarray, radius: float, shade: str) -> np.ndarray:
    height, width = image.shape[:2]
    x, y = centred(height, width)
    short = min(height, width)
    over_x = np.maximum(np.abs(x) - width / short + 2 * radius, 0)
    over_y = np.maximum(np.abs(y) - height / short + 2 * radius, 0)
    return paint(image, np.hypot(over_x, over_y) > 2 * radius, shade)


def oval_frame(image: np.ndarray, shade: str, size: float) -> np.ndarray:
    x, y = unit(*image.shape[:2])
    return paint(image, np.hypot(x - 0.5, y - 0.5) > size / 2, shade)


def diamond_frame(image: np.ndarray, shade: str) -> np.ndarray:
    x, y = unit(*image.shape[:2])
    return paint(image, np.abs(x - 0.5) + np.abs(y - 0.5) > 0.52, shade)


def letterbox(image: np.ndarray, axis: str, width: float) -> np.ndarray:
    across = choose({"horizontal": 1, "vertical": 0}, axis, "axis")
    place = unit(*image.shape[:2])[across]
    return paint(image, np.abs(place - 0.5) > 0.5 - width, "black")


def film_strip(image: np.ndarray, axis: str) -> np.ndarray:
    choose({"horizontal": 1, "vertical": 0}, axis, "axis")
    x, y = unit(*image.shape[:2])
    along, across = (x, y) if axis == "horizontal" else (y, x)
    rim = 0.5 - np.abs(across - 0.5)
    hole = (np.abs(rim - 0.09) < 0.045) & (np.abs((along * 6) % 1 - 0.5) < 0.25)
    return paint(paint(image, rim < 0.18, "black"), hole, "white")


def striped_frame(image: np.ndarray, first: str, second: str) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    odd_stripe = np.floor((x + y) * 4) % 2 > 0
    rim = _rim(image) < 0.13
    return paint(paint(image, rim, first), rim & odd_stripe, second)


def double_frame(image: np.ndarray, outer: str, inner: str) -> np.ndarray:
    rim = _rim(image)
    return paint(paint(image, rim < 0.15, inner), rim < 0.08, outer)


def ghost_frame(image: np.ndarray, width: float) -> np.ndarray:
    return blend(
        image, (255, 255, 255), np.where(_rim(image) < width, np.float32(0.65), np.float32(0))
    )


def stamp(image: np.ndarray, shade: str) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    rim = _rim(image)
    teeth = np.hypot((x * 5) % 1 - 0.5, (y * 5) % 1 - 0.5) < 0.36
    return paint(paint(image, rim < 0.15, "cream"), (rim < 0.085) & teeth, shade)


FAMILIES = (
    Family(
        "border",
        KIND,
        True,
        {"shade": "a named colour", "width": "share of the short side, 0-0.5"},
        presets(
            "shade width",
            ("black", 0.1),
            ("black", 0.2),
            ("white", 0.1),
            ("white", 0.2),
            ("red", 0.1),
            ("red", 0.2),
            ("blue", 0.1),
            ("blue", 0.2),
            ("yellow", 0.1),
            ("green", 0.1),
        ),
        border,
        "put a {shade} border of width {width} around the picture".format,
    ),
    Family(
        "inset_frame",
        KIND,
        True,
        {"shade": "a named colour", "inset": "share of the short side, 0-0.45"},
        presets(
            "shade inset",
            ("white", 0.08),
            ("white", 0.2),
            ("black", 0.08),
            ("red", 0.08),
            ("red", 0.2),
        ),
        inset_frame,
        "draw a thin {shade} frame at {inset} from the edge".format,
    ),
    Family(
        "polaroid",
        KIND,
        True,
        {"foot": "share of the height below the picture, 0.05-0.5"},
        presets("foot", 0.15, 0.25, 0.38),
        polaroid,
        "turn the picture into an instant photograph with a foot of {foot}".format,
    ),
    Family(
        "rounded_corners",
        KIND,
        True,
        {"radius": "share of the short side, 0.05-0.5", "shade": "a named colour"},
        presets("radius shade", (0.25, "black"), (0.4, "black"), (0.25, "white"), (0.4, "white")),
        rounded_corners,
        "round the corners by {radius} on {shade}".format,
    ),
    Family(
        "oval_frame",
        KIND,
        True,
        {"shade": "a named colour", "size": "share of width and height, 0.2-1.2"},
        presets(
            "shade size",
            ("black", 0.95),
            ("black", 0.7),
            ("white", 0.95),
            ("white", 0.7),
            ("brown", 0.85),
        ),
        oval_frame,
        "show the picture in an oval of size {size} on {shade}".format,
    ),
    Family(
        "diamond_frame",
        KIND,
        True,
        {"shade": "a named colour"},
        presets("shade", "black", "white", "purple"),
        diamond_frame,
        "show the picture in a diamond on {shade}".format,
    ),
    Family(
        "letterbox",
        KIND,
        True,
        {"axis": "horizontal or vertical", "width": "share of the size of each bar, 0-0.45"},
        presets(
            "axis width",
            ("horizontal", 0.12),
            ("horizontal", 0.22),
            ("horizontal", 0.32),
            ("vertical", 0.12),
            ("vertical", 0.22),
            ("vertical", 0.32),
        ),
        letterbox,
        "put two {axis} black bars of {width} over the edges".format,
    ),
    Family(
        "film_strip",
        KIND,
        True,
        {"axis": "horizontal or vertical"},
        presets("axis", "horizontal", "vertical"),
        film_strip,
        "turn the picture into a frame of a {axis} film strip".format,
    ),
    Family(
        "striped_frame",
        KIND,
        True,
        {"first": "a named colour", "second": "a named colour"},
        presets("first second", ("red", "white"), ("black", "yellow"), ("navy", "cyan")),
        striped_frame,
        "put a frame with {first} and {second} stripes around the picture".format,
    ),
    Family(
        "double_frame",
        KIND,
        True,
        {"outer": "a named colour", "inner": "a named colour"},
        presets("outer inner", ("brown", "cream"), ("white", "black"), ("navy", "orange")),
        double_frame,
        "put a {outer} frame with a {inner} mount around the picture".format,
    ),
    Family(
        "ghost_frame",
        KIND,
        True,
        {"width": "share of the short side, 0-0.5"},
        presets("width", 0.1, 0.18, 0.28),
        ghost_frame,
        "veil a rim of {width} in white".format,
    ),
    Family(
        "stamp",
        KIND,
        True,
        {"shade": "a named colour"},
        presets("shade", "black", "red"),
        stamp,
        "turn the picture into a postage stamp on {shade}".format,
    ),
)
