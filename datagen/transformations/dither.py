"""Kind dither: few colours, dots and lines that stand for tones."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from datagen.transformations.arrays import choose, gray3, grid, luma, paint, pixels
from datagen.transformations.family import Family, presets

KIND = "dither"
PALETTES = {
    "handheld": ("0f380f", "306230", "8bac0f", "9bbc0f"),
    "cga": ("000000", "55ffff", "ff55ff", "ffffff"),
    "sunset": ("2d1b4e", "7b2d6b", "d1495b", "f79256", "fbd1a2"),
    "poster": ("00304a", "d7191c", "fae3a0", "7396a0"),
}


def _bayer(size: int) -> np.ndarray:
    matrix = np.zeros((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / size**2


def ordered_dither(image: np.ndarray, matrix: int, mode: str) -> np.ndarray:
    height, width = image.shape[:2]
    scale = pixels(image, 1)
    pattern = np.kron(_bayer(matrix), np.ones((scale, scale), np.float32)) * 255
    limits = np.tile(pattern, (-(-height // len(pattern)), -(-width // len(pattern))))[
        :height, :width
    ]
    if choose({"gray": True, "colour": False}, mode, "mode"):
        return gray3((luma(image) > limits).astype(np.uint8) * 255)
    return (image > limits[..., None]).astype(np.uint8) * 255


def error_diffusion(image: np.ndarray, mode: str) -> np.ndarray:
    picture = Image.fromarray(image)
    if choose({"gray": True, "colour": False}, mode, "mode"):
        return np.asarray(picture.convert("1").convert("RGB"))
    return np.dstack([np.asarray(channel.convert("1").convert("L")) for channel in picture.split()])


def _nearest_of(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Each pixel replaced by the nearest of K whole-numbered colours, K x 3."""
    # Squared distances but for the pixel's own square; whole numbers under 2**24, so exact in float32.
    palette = colours.astype(np.float32)
    distances = (palette**2).sum(1) - 2 * (image.astype(np.float32) @ palette.T)
    return colours.astype(np.uint8)[distances.argmin(-1)]


def few_colours(image: np.ndarray, count: int) -> np.ndarray:
    small = cv2.resize(
        image, (min(32, image.shape[1]), min(32, image.shape[0])), interpolation=cv2.INTER_AREA
    )
    # k-means from the ranks of brightness: no random start, and the same colours every time.
    ranks = np.argsort(np.argsort(luma(small), axis=None, kind="stable"), kind="stable")
    labels = (ranks * count // ranks.size).astype(np.int32)[:, None]
    stop = (cv2.TERM_CRITERIA_MAX_ITER, 8, 0.0)
    centres = cv2.kmeans(
        small.reshape(-1, 3).astype(np.float32),
        count,
        labels,
        stop,
        1,
        cv2.KMEANS_USE_INITIAL_LABELS,
    )[2]
    return _nearest_of(image, np.rint(centres))


def retro_palette(image: np.ndarray, palette: str) -> np.ndarray:
    return _nearest_of(
        image,
        np.array([list(bytes.fromhex(item)) for item in choose(PALETTES, palette, "palette")]),
    )


def _screen(image: np.ndarray, spacing: float, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = grid(*image.shape[:2])
    angle, period = np.radians(degrees), spacing * min(image.shape[:2]) / 64
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.cos(2 * np.pi * along / period), np.cos(2 * np.pi * across / period)


def halftone(image: np.ndarray, spacing: float, ink: str) -> np.ndarray:
    along, across = _screen(image, spacing, 45)
    dark = luma(image) / np.float32(255) < 0.5 + (along + across) / 4.2
    return paint(np.full_like(image, 255), dark, ink)


def colour_halftone(image: np.ndarray, spacing: float) -> np.ndarray:
    result = np.empty_like(image)
    for channel, degrees in enumerate((15, 75, 45)):
        along, across = _screen(image, spacing, degrees)
        result[..., channel] = (
            image[..., channel] / np.float32(255) >= 0.5 + (along + across) / 4.2
        ) * np.uint8(255)
    return result


def line_screen(image: np.ndarray, spacing: float, degrees: float) -> np.ndarray:
    across = _screen(image, spacing, degrees)[1]
    return gray3((luma(image) / np.float32(255) >= 0.5 + across / 2.1).astype(np.uint8) * 255)


def ascii_blocks(image: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape[:2]
    cell = pixels(image, size, 3)
    small = cv2.resize(image, (-(-width // cell), -(-height // cell)), interpolation=cv2.INTER_AREA)
    means = np.repeat(np.repeat(small, cell, 0), cell, 1)[:height, :width]
    x, y = grid(height, width)
    reach = (
        np.maximum(np.abs((x % cell + 0.5) / cell - 0.5), np.abs((y % cell + 0.5) / cell - 0.5)) * 2
    )
    return np.where(
        (reach <= np.sqrt(luma(means) / np.float32(255)))[..., None], means, np.uint8(0)
    )


FAMILIES = (
    Family(
        "ordered_dither",
        KIND,
        True,
        {"matrix": "2, 4 or 8", "mode": "gray or colour"},
        presets("matrix mode", (2, "gray"), (8, "gray"), (2, "colour"), (8, "colour")),
        ordered_dither,
        "dither the picture in {mode} with a {matrix} by {matrix} Bayer matrix".format,
    ),
    Family(
        "error_diffusion",
        KIND,
        True,
        {"mode": "gray or colour"},
        presets("mode", "gray", "colour"),
        error_diffusion,
        "dither the picture in {mode} by error diffusion".format,
    ),
    Family(
        "few_colours",
        KIND,
        True,
        {"count": "colours, 2-32"},
        presets("count", 2, 3, 4),
        few_colours,
        "reduce the picture to its {count} main colours".format,
    ),
    Family(
        "retro_palette",
        KIND,
        True,
        {"palette": ", ".join(PALETTES)},
        presets("palette", *PALETTES),
        retro_palette,
        "redraw the picture in the {palette} palette".format,
    ),
    Family(
        "halftone",
        KIND,
        True,
        {"spacing": "pixels at 64 px, 3-16", "ink": "a named colour"},
        presets("spacing ink", (4, "black"), (6, "black"), (9, "black"), (6, "blue"), (6, "red")),
        halftone,
        "print the picture in {ink} halftone dots of {spacing} pixels on white".format,
    ),
    Family(
        "colour_halftone",
        KIND,
        True,
        {"spacing": "pixels at 64 px, 3-16"},
        presets("spacing", 4, 6, 9),
        colour_halftone,
        "print the picture in coloured halftone dots of {spacing} pixels".format,
    ),
    Family(
        "line_screen",
        KIND,
        True,
        {"spacing": "pixels at 64 px, 3-16", "degrees": "direction of the lines, 0-180"},
        presets("spacing degrees", (5, 0), (5, 45), (5, 90), (5, 135), (9, 45)),
        line_screen,
        "engrave the picture in lines {spacing} pixels apart at {degrees} degrees".format,
    ),
    Family(
        "ascii_blocks",
        KIND,
        True,
        {"size": "pixels at 64 px, 3-16"},
        presets("size", 4, 6, 9),
        ascii_blocks,
        "draw the picture in coloured squares on black, {size} pixels apart and as large as the place is bright".format,
    ),
)
