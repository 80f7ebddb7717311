"""Kind geometry: flips, turns, zooms, bends and rearrangements."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import centred, choose, from_centred, grid, remap, warp
from datagen.transformations.family import Family, presets

KIND = "geometry"
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
SIDES = ("left", "right", "top", "bottom")
# Where each quadrant (top left, top right, bottom left, bottom right) of the result is taken from.
ARRANGEMENTS = {
    "opposite": (3, 2, 1, 0),
    "clockwise": (2, 0, 3, 1),
    "counterclockwise": (1, 3, 0, 2),
    "columns": (1, 0, 3, 2),
}


def _fit(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return (
        image
        if image.shape == shape
        else cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    )


def flip(image: np.ndarray, axis: str) -> np.ndarray:
    return cv2.flip(image, choose({"horizontal": 1, "vertical": 0}, axis, "axis"))


def rotate(image: np.ndarray, degrees: int) -> np.ndarray:
    return _fit(
        cv2.rotate(
            image,
            choose({str(key): value for key, value in TURNS.items()}, str(degrees), "quarter turn"),
        ),
        image.shape,
    )


def transpose(image: np.ndarray, diagonal: str) -> np.ndarray:
    turned = cv2.transpose(image)
    return _fit(
        turned
        if choose({"main": True, "other": False}, diagonal, "diagonal")
        else cv2.rotate(turned, cv2.ROTATE_180),
        image.shape,
    )


def tilt(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    return warp(image, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0))


def translate(image: np.ndarray, right: float, down: float) -> np.ndarray:
    height, width = image.shape[:2]
    return np.roll(image, (round(down * height), round(right * width)), (0, 1))


def zoom_in(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    return warp(image, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, 1 / factor))


def zoom_out(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    result = np.zeros_like(image)
    result[top : top + size[1], left : left + size[0]] = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA
    )
    return result


def shear(image: np.ndarray, amount: float) -> np.ndarray:
    height = image.shape[0]
    return warp(
        image, np.array([[1, amount, -amount * (height - 1) / 2], [0, 1, 0]]), cv2.BORDER_WRAP
    )


def stretch(image: np.ndarray, axis: str, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    across = choose({"horizontal": (1 / factor, 1.0), "vertical": (1.0, 1 / factor)}, axis, "axis")
    x, y = grid(height, width)
    return remap(
        image,
        (x - (width - 1) / 2) * across[0] + (width - 1) / 2,
        (y - (height - 1) / 2) * across[1] + (height - 1) / 2,
    )


def swirl(image: np.ndarray, degrees: float) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    angle = -np.radians(degrees) * np.clip(1 - np.hypot(x, y), 0, 1)
    sine, cosine = np.sin(angle), np.cos(angle)
    return remap(image, *from_centred(image.shape, x * cosine - y * sine, x * sine + y * cosine))


def perspective(image: np.ndarray, side: str, amount: float) -> np.ndarray:
    height, width = image.shape[:2]
    right, bottom = width - 1.0, height - 1.0
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    first, second, axis = choose(
        {"top": (0, 1, 0), "bottom": (3, 2, 0), "left": (0, 3, 1), "right": (1, 2, 1)}, side, "side"
    )
    moved = corners.copy()
    moved[first, axis] += amount * (right, bottom)[axis]
    moved[second, axis] -= amount * (right, bottom)[axis]
    return cv2.warpPerspective(
        image, cv2.getPerspectiveTransform(corners, moved), (width, height), flags=cv2.INTER_LINEAR
    )


def fisheye(image: np.ndarray, strength: float) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    radius = np.clip(np.hypot(x, y), 1e-6, 1)
    factor = radius**strength
    return remap(image, *from_centred(image.shape, x * factor, y * factor))


def wave(image: np.ndarray, axis: str, amplitude: float, waves: float) -> np.ndarray:
    height, width = image.shape[:2]
    x, y = grid(height, width)
    if choose({"horizontal": True, "vertical": False}, axis, "axis"):
        return remap(image, x + amplitude * width * np.sin(2 * np.pi * waves * y / height), y)
    return remap(image, x, y + amplitude * height * np.sin(2 * np.pi * waves * x / width))


def mirror_half(image: np.ndarray, side: str) -> np.ndarray:
    choose(dict.fromkeys(SIDES), side, "side")
    axis = 1 if side in ("left", "right") else 0
    half = image.shape[axis] // 2
    result, mirrored = image.copy(), np.flip(image, axis)
    part = slice(-half, None) if side in ("left", "top") else slice(0, half)
    index = (slice(None), part) if axis else (part, slice(None))
    result[index] = mirrored[index]
    return result


def kaleidoscope(image: np.ndarray, segments: int) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    wedge = 2 * np.pi / segments
    angle = np.abs((np.arctan2(y, x) + wedge / 2) % wedge - wedge / 2) - np.pi / 2
    radius = np.hypot(x, y)
    return remap(image, *from_centred(image.shape, radius * np.cos(angle), radius * np.sin(angle)))


def quadrants(image: np.ndarray, arrangement: str) -> np.ndarray:
    order = choose(ARRANGEMENTS, arrangement, "arrangement")
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    parts = [
        (slice(None, rows), slice(None, columns)),
        (slice(None, rows), slice(-columns, None)),
        (slice(-rows, None), slice(None, columns)),
        (slice(-rows, None), slice(-columns, None)),
    ]
    result = image.copy()
    for place, source in enumerate(order):
        result[parts[place]] = image[parts[source]]
    return result


def slices(image: np.ndarray, axis: str, count: int) -> np.ndarray:
    along = choose({"columns": 1, "rows": 0}, axis, "axis")
    return np.concatenate(np.array_split(image, count, along)[::-1], along)


def slice_flip(image: np.ndarray, axis: str, count: int) -> np.ndarray:
    along = choose({"columns": 1, "rows": 0}, axis, "axis")
    return np.concatenate(
        [np.flip(part, along) for part in np.array_split(image, count, along)], along
    )


def tiles(image: np.ndarray, count: int) -> np.ndarray:
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (-(-width // count), -(-height // count)), interpolation=cv2.INTER_AREA
    )
    return np.tile(small, (count, count, 1))[:height, :width]


def polar(image: np.ndarray, direction: str) -> np.ndarray:
    height, width = image.shape[:2]
    if choose({"wrap": True, "unwrap": False}, direction, "direction"):
        x, y = centred(height, width)
        return remap(
            image,
            (np.arctan2(x, -y) / (2 * np.pi) + 0.5) * (width - 1),
            (1 - np.clip(np.hypot(x, y), 0, 1)) * (height - 1),
        )
    x, y = grid(height, width)
    angle, radius = (x / width - 0.5) * 2 * np.pi, 1 - y / height
    return remap(image, *from_centred(image.shape, radius * np.sin(angle), -radius * np.cos(angle)))


def _tilt_words(degrees: float) -> str:
    return f"tilt the picture {'clockwise' if degrees > 0 else 'counterclockwise'} by {abs(degrees):g} degrees"


def _swirl_words(degrees: float) -> str:
    return f"swirl the middle {'clockwise' if degrees > 0 else 'counterclockwise'} by {abs(degrees):g} degrees"


def _shear_words(amount: float) -> str:
    return f"slant the picture to the {'right' if amount > 0 else 'left'} by {abs(amount):g}"


def _fisheye_words(strength: float) -> str:
    return f"{'bulge' if strength > 0 else 'pinch'} the middle with strength {abs(strength):g}"


FAMILIES = (
    Family(
        "flip",
        KIND,
        True,
        {"axis": "horizontal or vertical"},
        presets("axis", "horizontal", "vertical"),
        flip,
        "flip the picture {axis}ly".format,
    ),
    Family(
        "rotate",
        KIND,
        True,
        {"degrees": "clockwise quarter turns: 90, 180 or 270"},
        presets("degrees", 90, 180, 270),
        rotate,
        "rotate the picture clockwise by {degrees} degrees".format,
    ),
    Family(
        "transpose",
        KIND,
        True,
        {"diagonal": "main or other"},
        presets("diagonal", "main", "other"),
        transpose,
        "mirror the picture along its {diagonal} diagonal".format,
    ),
    Family(
        "tilt",
        KIND,
        True,
        {"degrees": "clockwise degrees, -90 to 90"},
        presets("degrees", -45, -30, -15, 15, 30, 45),
        tilt,
        _tilt_words,
    ),
    Family(
        "translate",
        KIND,
        True,
        {"right": "share of the width, 0-1", "down": "share of the height, 0-1"},
        presets(
            "right down",
            (0.25, 0.0),
            (0.5, 0.0),
            (0.75, 0.0),
            (0.0, 0.25),
            (0.0, 0.5),
            (0.0, 0.75),
            (0.5, 0.5),
        ),
        translate,
        "move the picture right by {right} and down by {down} of its size, wrapping around".format,
    ),
    Family(
        "zoom_in",
        KIND,
        True,
        {"factor": "enlargement, 1-6"},
        presets("factor", 1.25, 1.5, 2.0, 2.75, 4.0),
        zoom_in,
        "zoom into the middle by a factor of {factor:g}".format,
    ),
    Family(
        "zoom_out",
        KIND,
        True,
        {"factor": "size of the picture within the black border, 0.1-1"},
        presets("factor", 0.85, 0.7, 0.55, 0.4),
        zoom_out,
        "shrink the picture to {factor} of its size on black".format,
    ),
    Family(
        "shear",
        KIND,
        True,
        {"amount": "columns per row, -1 (top to the left) to 1 (top to the right)"},
        presets("amount", -0.6, -0.3, 0.3, 0.6),
        shear,
        _shear_words,
    ),
    Family(
        "stretch",
        KIND,
        True,
        {"axis": "horizontal or vertical", "factor": "enlargement along the axis, 0.25-4"},
        presets(
            "axis factor",
            ("horizontal", 0.5),
            ("horizontal", 1.6),
            ("horizontal", 2.5),
            ("vertical", 0.5),
            ("vertical", 1.6),
            ("vertical", 2.5),
        ),
        stretch,
        "stretch the picture {axis}ly by a factor of {factor}, mirroring at the edges".format,
    ),
    Family(
        "swirl",
        KIND,
        True,
        {"degrees": "clockwise degrees at the centre, -720 to 720"},
        presets("degrees", -270, -180, -90, 90, 180, 270),
        swirl,
        _swirl_words,
    ),
    Family(
        "perspective",
        KIND,
        True,
        {
            "side": ", ".join(SIDES),
            "amount": "share by which each end of the side moves in, 0-0.45",
        },
        presets("side amount", *[(side, amount) for side in SIDES for amount in (0.18, 0.34)]),
        perspective,
        "tip the {side} side away by {amount}".format,
    ),
    Family(
        "fisheye",
        KIND,
        True,
        {"strength": "exponent of the radius, -0.9 (pinch) to 3 (bulge)"},
        presets("strength", -0.6, -0.35, 0.5, 1.0, 1.8),
        fisheye,
        _fisheye_words,
    ),
    Family(
        "wave",
        KIND,
        True,
        {
            "axis": "horizontal or vertical",
            "amplitude": "share of the size, 0-0.3",
            "waves": "whole waves, 0.5-8",
        },
        presets(
            "axis amplitude waves",
            ("horizontal", 0.06, 2),
            ("horizontal", 0.06, 4),
            ("vertical", 0.06, 2),
            ("vertical", 0.06, 4),
        ),
        wave,
        "bend the picture {axis}ly in {waves} waves of amplitude {amplitude}".format,
    ),
    Family(
        "mirror_half",
        KIND,
        True,
        {"side": ", ".join(SIDES)},
        presets("side", *SIDES),
        mirror_half,
        "mirror the {side} half onto the other half".format,
    ),
    Family(
        "kaleidoscope",
        KIND,
        True,
        {"segments": "even number of wedges, 2-24"},
        presets("segments", 4, 6, 8, 12),
        kaleidoscope,
        "show the picture in a kaleidoscope of {segments} wedges".format,
    ),
    Family(
        "quadrants",
        KIND,
        True,
        {"arrangement": ", ".join(ARRANGEMENTS)},
        presets("arrangement", "clockwise", "counterclockwise"),
        quadrants,
        "move the four quadrants one place {arrangement}".format,
    ),
    Family(
        "slices",
        KIND,
        True,
        {"axis": "columns or rows", "count": "number of slices, 2-16"},
        presets(
            "axis count",
            ("columns", 3),
            ("columns", 5),
            ("columns", 8),
            ("rows", 3),
            ("rows", 5),
            ("rows", 8),
        ),
        slices,
        "cut the picture into {count} {axis} and reverse their order".format,
    ),
    Family(
        "slice_flip",
        KIND,
        True,
        {"axis": "columns or rows", "count": "number of slices, 2-16"},
        presets("axis count", ("columns", 2), ("columns", 4), ("rows", 2), ("rows", 4)),
        slice_flip,
        "cut the picture into {count} {axis} and mirror each of them".format,
    ),
    Family(
        "tiles",
        KIND,
        True,
        {"count": "tiles along each side, 2-8"},
        presets("count", 2, 3, 4),
        tiles,
        "repeat the whole picture in {count} by {count} tiles".format,
    ),
    Family(
        "polar",
        KIND,
        True,
        {"direction": "wrap or unwrap"},
        presets("direction", "wrap", "unwrap"),
        polar,
        "{direction} the picture around its centre".format,
    ),
)
