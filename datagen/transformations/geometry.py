"""Kind geometry: flips, turns, zooms, bends and rearrangements."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    AXES,
    AXIS,
    LINE,
    LINES,
    centred,
    from_centre,
    from_centred,
    grid,
    pattern,
    remap,
    warp,
)
from datagen.transformations.declaration import Parameter, family, presets

KIND = "geometry"
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
# The two corners of a side, clockwise from the top left of the picture, and the axis it lies along.
SIDES = {"left": (0, 3, 1), "right": (1, 2, 1), "top": (0, 1, 0), "bottom": (3, 2, 0)}
# Where each quadrant (top left, top right, bottom left, bottom right) of the result is taken from.
ARRANGEMENTS = {
    "opposite": (3, 2, 1, 0),
    "clockwise": (2, 0, 3, 1),
    "counterclockwise": (1, 3, 0, 2),
    "columns": (1, 0, 3, 2),
}


def _fit(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if image.shape == shape:
        return image
    return cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


@family(
    "flip",
    kind=KIND,
    presets=presets("axis", "horizontal", "vertical"),
    axis=AXIS,
    instruction="flip the picture {axis}ly",
)
def flip(image: np.ndarray, axis: str) -> np.ndarray:
    """Mirror left and right, or top and bottom."""
    return cv2.flip(image, AXES[axis])


@family(
    "rotate",
    kind=KIND,
    presets=presets("degrees", 90, 180, 270),
    degrees=Parameter("clockwise turn in degrees", choices=tuple(TURNS)),
    instruction="rotate the picture clockwise by {degrees} degrees",
)
def rotate(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turn clockwise by quarter turns; a turned rectangle is resized back to its shape."""
    return _fit(cv2.rotate(image, TURNS[degrees]), image.shape)


@family(
    "transpose",
    kind=KIND,
    presets=presets("diagonal", "main", "other"),
    diagonal=Parameter("diagonal that is mirrored along", choices=("main", "other")),
    instruction="mirror the picture along its {diagonal} diagonal",
)
def transpose(image: np.ndarray, diagonal: str) -> np.ndarray:
    """Mirror along a diagonal; a turned rectangle is resized back to its shape."""
    turned = cv2.transpose(image)
    if diagonal == "other":
        turned = cv2.rotate(turned, cv2.ROTATE_180)
    return _fit(turned, image.shape)


def _turning(degrees: float) -> str:
    return "clockwise" if degrees > 0 else "counterclockwise"


def _tilt_words(degrees: float) -> str:
    return f"tilt the picture {_turning(degrees)} by {abs(degrees):g} degrees"


@family(
    "tilt",
    kind=KIND,
    presets=presets("degrees", -45, -30, -15, 15, 30, 45),
    degrees=Parameter("clockwise turn", -90, 90, unit="degrees"),
    instruction=_tilt_words,
)
def tilt(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn clockwise by an angle; what comes in from outside is mirrored."""
    height, width = image.shape[:2]
    return warp(image, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0))


@family(
    "translate",
    kind=KIND,
    presets=presets(
        "right down",
        (0.25, 0.0),
        (0.5, 0.0),
        (0.75, 0.0),
        (0.0, 0.25),
        (0.0, 0.5),
        (0.0, 0.75),
        (0.5, 0.5),
    ),
    right=Parameter("how far to the right", 0, 1, unit="of the width"),
    down=Parameter("how far down", 0, 1, unit="of the height"),
    instruction="move the picture right by {right} and down by {down} of its size, wrapping around",
)
def translate(image: np.ndarray, right: float, down: float) -> np.ndarray:
    """Move the picture, wrapping around at its edges."""
    height, width = image.shape[:2]
    return np.roll(image, (round(down * height), round(right * width)), (0, 1))


@family(
    "zoom_in",
    kind=KIND,
    presets=presets("factor", 1.25, 1.5, 2.0, 2.75, 4.0),
    factor=Parameter("enlargement", 1, 6),
    instruction="zoom into the middle by a factor of {factor:g}",
)
def zoom_in(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle."""
    height, width = image.shape[:2]
    return warp(image, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, 1 / factor))


@family(
    "zoom_out",
    kind=KIND,
    presets=presets("factor", 0.85, 0.7, 0.55, 0.4),
    factor=Parameter("size of the picture within the black border", 0.1, 1, unit="of the whole"),
    instruction="shrink the picture to {factor} of its size on black",
)
def zoom_out(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrink the picture onto black."""
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    result = np.zeros_like(image)
    result[top : top + size[1], left : left + size[0]] = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA
    )
    return result


def _shear_words(amount: float) -> str:
    return f"slant the picture to the {'right' if amount > 0 else 'left'} by {abs(amount):g}"


@family(
    "shear",
    kind=KIND,
    presets=presets("amount", -0.6, -0.3, 0.3, 0.6),
    amount=Parameter("columns per row, from top to the left to top to the right", -1, 1),
    instruction=_shear_words,
)
def shear(image: np.ndarray, amount: float) -> np.ndarray:
    """Move the rows sideways in proportion to their distance from the middle, wrapping around."""
    height = image.shape[0]
    return warp(
        image, np.array([[1, amount, -amount * (height - 1) / 2], [0, 1, 0]]), cv2.BORDER_WRAP
    )


@family(
    "stretch",
    kind=KIND,
    presets=presets(
        "axis factor",
        ("horizontal", 0.5),
        ("horizontal", 1.6),
        ("horizontal", 2.5),
        ("vertical", 0.5),
        ("vertical", 1.6),
        ("vertical", 2.5),
    ),
    axis=AXIS,
    factor=Parameter("enlargement along the axis", 0.25, 4),
    instruction="stretch the picture {axis}ly by a factor of {factor}, mirroring at the edges",
)
def stretch(image: np.ndarray, axis: str, factor: float) -> np.ndarray:
    """Enlarge along one axis; where it shrinks, the edges are mirrored."""
    height, width = image.shape[:2]
    across = (1 / factor, 1.0) if axis == "horizontal" else (1.0, 1 / factor)
    x, y = grid(height, width)
    return remap(
        image,
        (x - (width - 1) / 2) * across[0] + (width - 1) / 2,
        (y - (height - 1) / 2) * across[1] + (height - 1) / 2,
    )


def _swirl_words(degrees: float) -> str:
    return f"swirl the middle {_turning(degrees)} by {abs(degrees):g} degrees"


@family(
    "swirl",
    kind=KIND,
    presets=presets("degrees", -270, -180, -90, 90, 180, 270),
    degrees=Parameter("clockwise turn at the centre", -720, 720, unit="degrees"),
    instruction=_swirl_words,
)
def swirl(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn the middle, less and less towards the rim."""
    return remap(image, *_swirled(*image.shape[:2], degrees))


@pattern
def _swirled(height: int, width: int, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels come from, x and y as float32 H x W."""
    x, y = centred(height, width)
    angle = -np.radians(degrees) * np.clip(1 - from_centre(height, width), 0, 1)
    sine, cosine = np.sin(angle), np.cos(angle)
    return from_centred((height, width), x * cosine - y * sine, x * sine + y * cosine)


@family(
    "perspective",
    kind=KIND,
    presets=presets("side amount", *[(side, amount) for side in SIDES for amount in (0.18, 0.34)]),
    side=Parameter("side that is tipped away", choices=tuple(SIDES)),
    amount=Parameter("how far each end of the side moves in", 0, 0.45, unit="of the side"),
    instruction="tip the {side} side away by {amount}",
)
def perspective(image: np.ndarray, side: str, amount: float) -> np.ndarray:
    """Tip one side away from the viewer; black shows beside it."""
    height, width = image.shape[:2]
    right, bottom = width - 1.0, height - 1.0
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    first, second, axis = SIDES[side]
    moved = corners.copy()
    moved[first, axis] += amount * (right, bottom)[axis]
    moved[second, axis] -= amount * (right, bottom)[axis]
    return cv2.warpPerspective(
        image, cv2.getPerspectiveTransform(corners, moved), (width, height), flags=cv2.INTER_LINEAR
    )


def _fisheye_words(strength: float) -> str:
    return f"{'bulge' if strength > 0 else 'pinch'} the middle with strength {abs(strength):g}"


@family(
    "fisheye",
    kind=KIND,
    presets=presets("strength", -0.6, -0.35, 0.5, 1.0, 1.8),
    strength=Parameter("exponent of the radius, from pinch to bulge", -0.9, 3),
    instruction=_fisheye_words,
)
def fisheye(image: np.ndarray, strength: float) -> np.ndarray:
    """Bulge the middle, or pinch it for negative strengths."""
    x, y = centred(*image.shape[:2])
    radius = np.clip(from_centre(*image.shape[:2]), 1e-6, 1)
    factor = radius**strength
    return remap(image, *from_centred(image.shape, x * factor, y * factor))


@family(
    "wave",
    kind=KIND,
    presets=presets(
        "axis amplitude waves",
        ("horizontal", 0.06, 2),
        ("horizontal", 0.06, 4),
        ("vertical", 0.06, 2),
        ("vertical", 0.06, 4),
    ),
    axis=AXIS,
    amplitude=Parameter("height of the waves", 0, 0.3, unit="of the size"),
    waves=Parameter("number of waves", 0.5, 8),
    instruction="bend the picture {axis}ly in {waves} waves of amplitude {amplitude}",
)
def wave(image: np.ndarray, axis: str, amplitude: float, waves: float) -> np.ndarray:
    """Bend rows or columns along a sine."""
    height, width = image.shape[:2]
    x, y = grid(height, width)
    if axis == "horizontal":
        return remap(image, x + amplitude * width * np.sin(2 * np.pi * waves * y / height), y)
    return remap(image, x, y + amplitude * height * np.sin(2 * np.pi * waves * x / width))


@family(
    "mirror_half",
    kind=KIND,
    presets=presets("side", *SIDES),
    side=Parameter("half that is mirrored", choices=tuple(SIDES)),
    instruction="mirror the {side} half onto the other half",
)
def mirror_half(image: np.ndarray, side: str) -> np.ndarray:
    """Mirror one half onto the other."""
    axis = 1 if side in ("left", "right") else 0
    half = image.shape[axis] // 2
    result, mirrored = image.copy(), np.flip(image, axis)
    part = slice(-half, None) if side in ("left", "top") else slice(0, half)
    index = (slice(None), part) if axis else (part, slice(None))
    result[index] = mirrored[index]
    return result


@family(
    "kaleidoscope",
    kind=KIND,
    presets=presets("segments", 4, 6, 8, 12),
    segments=Parameter("number of wedges", 2, 24, whole=True, step=2),
    instruction="show the picture in a kaleidoscope of {segments} wedges",
)
def kaleidoscope(image: np.ndarray, segments: int) -> np.ndarray:
    """Repeat one wedge around the centre, every other one mirrored."""
    return remap(image, *_reflected(*image.shape[:2], segments))


@pattern
def _reflected(height: int, width: int, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels come from, x and y as float32 H x W."""
    x, y = centred(height, width)
    wedge = 2 * np.pi / segments
    angle = np.abs((np.arctan2(y, x) + wedge / 2) % wedge - wedge / 2) - np.pi / 2
    radius = from_centre(height, width)
    return from_centred((height, width), radius * np.cos(angle), radius * np.sin(angle))


@family(
    "quadrants",
    kind=KIND,
    presets=presets("arrangement", "clockwise", "counterclockwise"),
    arrangement=Parameter("where the quadrants go", choices=tuple(ARRANGEMENTS)),
    instruction="move the four quadrants one place {arrangement}",
)
def quadrants(image: np.ndarray, arrangement: str) -> np.ndarray:
    """Rearrange the four quadrants."""
    order = ARRANGEMENTS[arrangement]
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    parts = [
        (slice(None, rows), slice(None, columns)),
        (slice(None, rows), slice(-columns, None)),
        (slice(-rows, None), slice(None, columns)),
        (slice(-rows, None), slice(-columns, None)),
    ]
    result = image.copy()
    for quadrant, source in enumerate(order):
        result[parts[quadrant]] = image[parts[source]]
    return result


@family(
    "slices",
    kind=KIND,
    presets=presets(
        "axis count",
        ("columns", 3),
        ("columns", 5),
        ("columns", 8),
        ("rows", 3),
        ("rows", 5),
        ("rows", 8),
    ),
    axis=LINE,
    count=Parameter("number of slices", 2, 16, whole=True),
    instruction="cut the picture into {count} {axis} and reverse their order",
)
def slices(image: np.ndarray, axis: str, count: int) -> np.ndarray:
    """Cut the picture into slices and reverse their order."""
    along = LINES[axis]
    return np.concatenate(np.array_split(image, count, along)[::-1], along)


@family(
    "slice_flip",
    kind=KIND,
    presets=presets("axis count", ("columns", 2), ("columns", 4), ("rows", 2), ("rows", 4)),
    axis=LINE,
    count=Parameter("number of slices", 2, 16, whole=True),
    instruction="cut the picture into {count} {axis} and mirror each of them",
)
def slice_flip(image: np.ndarray, axis: str, count: int) -> np.ndarray:
    """Cut the picture into slices and mirror each of them."""
    along = LINES[axis]
    return np.concatenate(
        [np.flip(part, along) for part in np.array_split(image, count, along)], along
    )


@family(
    "tiles",
    kind=KIND,
    presets=presets("count", 2, 3, 4),
    count=Parameter("tiles along each side", 2, 8, whole=True),
    instruction="repeat the whole picture in {count} by {count} tiles",
)
def tiles(image: np.ndarray, count: int) -> np.ndarray:
    """Repeat the whole picture in a square of small copies."""
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (-(-width // count), -(-height // count)), interpolation=cv2.INTER_AREA
    )
    return np.tile(small, (count, count, 1))[:height, :width]


@family(
    "polar",
    kind=KIND,
    presets=presets("direction", "wrap", "unwrap"),
    direction=Parameter("around the centre, or unrolled from it", choices=("wrap", "unwrap")),
    instruction="{direction} the picture around its centre",
)
def polar(image: np.ndarray, direction: str) -> np.ndarray:
    """Bend the rows into circles, or unroll circles into rows."""
    height, width = image.shape[:2]
    if direction == "wrap":
        x, y = centred(height, width)
        return remap(
            image,
            (np.arctan2(x, -y) / (2 * np.pi) + 0.5) * (width - 1),
            (1 - np.clip(np.hypot(x, y), 0, 1)) * (height - 1),
        )
    x, y = grid(height, width)
    angle, radius = (x / width - 0.5) * 2 * np.pi, 1 - y / height
    return remap(image, *from_centred(image.shape, radius * np.sin(angle), -radius * np.cos(angle)))
