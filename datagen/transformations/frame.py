"""Kind frame: borders and surrounds. Widths are shares of the short side."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    AXES,
    AXIS,
    NAMED_COLOUR,
    blend,
    centred,
    grid,
    paint,
    unit,
)
from datagen.transformations.declaration import Parameter, family, presets

KIND = "frame"


def _rim(image: np.ndarray) -> np.ndarray:
    """Distance of each pixel centre from the nearest edge in short sides, H x W."""
    height, width = image.shape[:2]
    x, y = grid(height, width)
    nearest = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    return (nearest + 0.5) / min(height, width)


@family(
    "border",
    kind=KIND,
    presets=presets(
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
    shade=NAMED_COLOUR,
    width=Parameter("width", 0, 0.5, unit="of the short side"),
    instruction="put a {shade} border of width {width} around the picture",
)
def border(image: np.ndarray, shade: str, width: float) -> np.ndarray:
    """Paint a border of one colour."""
    return paint(image, _rim(image) < width, shade)


@family(
    "inset_frame",
    kind=KIND,
    presets=presets(
        "shade inset",
        ("white", 0.08),
        ("white", 0.2),
        ("black", 0.08),
        ("red", 0.08),
        ("red", 0.2),
    ),
    shade=NAMED_COLOUR,
    inset=Parameter("distance from the edge", 0, 0.45, unit="of the short side"),
    instruction="draw a thin {shade} frame at {inset} from the edge",
)
def inset_frame(image: np.ndarray, shade: str, inset: float) -> np.ndarray:
    """Paint a thin frame at a distance from the edge."""
    rim = _rim(image)
    return paint(image, (rim > inset) & (rim < inset + 0.05), shade)


@family(
    "polaroid",
    kind=KIND,
    presets=presets("foot", 0.15, 0.25, 0.38),
    foot=Parameter("height of the rim below the picture", 0.05, 0.5, unit="of the height"),
    instruction="turn the picture into an instant photograph with a foot of {foot}",
)
def polaroid(image: np.ndarray, foot: float) -> np.ndarray:
    """Shrink the picture onto the white card of an instant photograph."""
    height, width = image.shape[:2]
    side = max(1, round(0.07 * min(height, width)))
    size = width - 2 * side, max(1, height - side - round(foot * height))
    result = np.full_like(image, 244)
    result[side : side + size[1], side : side + size[0]] = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA
    )
    return result


@family(
    "rounded_corners",
    kind=KIND,
    presets=presets(
        "radius shade", (0.25, "black"), (0.4, "black"), (0.25, "white"), (0.4, "white")
    ),
    radius=Parameter("radius of the corners", 0.05, 0.5, unit="of the short side"),
    shade=NAMED_COLOUR,
    instruction="round the corners by {radius} on {shade}",
)
def rounded_corners(image: np.ndarray, radius: float, shade: str) -> np.ndarray:
    """Paint over what lies outside of rounded corners."""
    height, width = image.shape[:2]
    x, y = centred(height, width)
    short = min(height, width)
    over_x = np.maximum(np.abs(x) - width / short + 2 * radius, 0)
    over_y = np.maximum(np.abs(y) - height / short + 2 * radius, 0)
    return paint(image, np.hypot(over_x, over_y) > 2 * radius, shade)


@family(
    "oval_frame",
    kind=KIND,
    presets=presets(
        "shade size",
        ("black", 0.95),
        ("black", 0.7),
        ("white", 0.95),
        ("white", 0.7),
        ("brown", 0.85),
    ),
    shade=NAMED_COLOUR,
    size=Parameter("diameter of the oval", 0.2, 1.2, unit="of width and height"),
    instruction="show the picture in an oval of size {size} on {shade}",
)
def oval_frame(image: np.ndarray, shade: str, size: float) -> np.ndarray:
    """Paint over what lies outside of an oval."""
    x, y = unit(*image.shape[:2])
    return paint(image, np.hypot(x - 0.5, y - 0.5) > size / 2, shade)


@family(
    "diamond_frame",
    kind=KIND,
    presets=presets("shade", "black", "white", "purple"),
    shade=NAMED_COLOUR,
    instruction="show the picture in a diamond on {shade}",
)
def diamond_frame(image: np.ndarray, shade: str) -> np.ndarray:
    """Paint over what lies outside of a diamond."""
    x, y = unit(*image.shape[:2])
    return paint(image, np.abs(x - 0.5) + np.abs(y - 0.5) > 0.52, shade)


@family(
    "letterbox",
    kind=KIND,
    presets=presets(
        "axis width",
        ("horizontal", 0.12),
        ("horizontal", 0.22),
        ("horizontal", 0.32),
        ("vertical", 0.12),
        ("vertical", 0.22),
        ("vertical", 0.32),
    ),
    axis=AXIS,
    width=Parameter("width of each bar", 0, 0.45, unit="of the size"),
    instruction="put two {axis} black bars of {width} over the edges",
)
def letterbox(image: np.ndarray, axis: str, width: float) -> np.ndarray:
    """Paint two black bars, above and below or left and right."""
    across = AXES[axis]
    position = unit(*image.shape[:2])[across]
    return paint(image, np.abs(position - 0.5) > 0.5 - width, "black")


@family(
    "film_strip",
    kind=KIND,
    presets=presets("axis", "horizontal", "vertical"),
    axis=AXIS,
    instruction="turn the picture into a frame of a {axis} film strip",
)
def film_strip(image: np.ndarray, axis: str) -> np.ndarray:
    """Paint two black strips with white holes."""
    x, y = unit(*image.shape[:2])
    along, across = (x, y) if axis == "horizontal" else (y, x)
    rim = 0.5 - np.abs(across - 0.5)
    hole = (np.abs(rim - 0.09) < 0.045) & (np.abs((along * 6) % 1 - 0.5) < 0.25)
    return paint(paint(image, rim < 0.18, "black"), hole, "white")


@family(
    "striped_frame",
    kind=KIND,
    presets=presets("first second", ("red", "white"), ("black", "yellow"), ("navy", "cyan")),
    first=NAMED_COLOUR,
    second=NAMED_COLOUR,
    instruction="put a frame with {first} and {second} stripes around the picture",
)
def striped_frame(image: np.ndarray, first: str, second: str) -> np.ndarray:
    """Paint a border with slanted stripes."""
    x, y = centred(*image.shape[:2])
    odd_stripe = np.floor((x + y) * 4) % 2 > 0
    rim = _rim(image) < 0.13
    return paint(paint(image, rim, first), rim & odd_stripe, second)


@family(
    "double_frame",
    kind=KIND,
    presets=presets("outer inner", ("brown", "cream"), ("white", "black"), ("navy", "orange")),
    outer=NAMED_COLOUR,
    inner=NAMED_COLOUR,
    instruction="put a {outer} frame with a {inner} mount around the picture",
)
def double_frame(image: np.ndarray, outer: str, inner: str) -> np.ndarray:
    """Paint a frame and a mount inside of it."""
    rim = _rim(image)
    return paint(paint(image, rim < 0.15, inner), rim < 0.08, outer)


@family(
    "ghost_frame",
    kind=KIND,
    presets=presets("width", 0.1, 0.18, 0.28),
    width=Parameter("width", 0, 0.5, unit="of the short side"),
    instruction="veil a rim of {width} in white",
)
def ghost_frame(image: np.ndarray, width: float) -> np.ndarray:
    """Blend a border with white."""
    return blend(
        image, (255, 255, 255), np.where(_rim(image) < width, np.float32(0.65), np.float32(0))
    )


@family(
    "stamp",
    kind=KIND,
    presets=presets("shade", "black", "red"),
    shade=NAMED_COLOUR,
    instruction="turn the picture into a postage stamp on {shade}",
)
def stamp(image: np.ndarray, shade: str) -> np.ndarray:
    """Paint the white rim and the teeth of a postage stamp."""
    x, y = centred(*image.shape[:2])
    rim = _rim(image)
    teeth = np.hypot((x * 5) % 1 - 0.5, (y * 5) % 1 - 0.5) < 0.36
    return paint(paint(image, rim < 0.15, "cream"), (rim < 0.085) & teeth, shade)
