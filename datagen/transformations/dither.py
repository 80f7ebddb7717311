"""Kind dither: few colours, dots and lines that stand for tones."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from datagen.transformations.arrays import (
    NAMED_COLOUR,
    gray3,
    grid,
    luma,
    over_channels,
    paint,
    pattern,
    pixels,
)
from datagen.transformations.declaration import PIXELS, REFERENCE, Parameter, family, presets

KIND = "dither"
MODE = Parameter("what is dithered", choices=("gray", "colour"))
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


@family(
    "ordered_dither",
    kind=KIND,
    presets=presets("matrix mode", (2, "gray"), (8, "gray"), (2, "colour"), (8, "colour")),
    matrix=Parameter("rows and columns of the Bayer matrix", choices=(2, 4, 8)),
    mode=MODE,
    instruction="dither the picture in {mode} with a {matrix} by {matrix} Bayer matrix",
)
def ordered_dither(image: np.ndarray, matrix: int, mode: str) -> np.ndarray:
    """Compare each pixel with a Bayer matrix; every channel becomes 0 or 255."""
    height, width = image.shape[:2]
    scale = pixels(image, 1)
    pattern = np.kron(_bayer(matrix), np.ones((scale, scale), np.float32)) * 255
    limits = np.tile(pattern, (-(-height // len(pattern)), -(-width // len(pattern))))[
        :height, :width
    ]
    if mode == "gray":
        return gray3((luma(image) > limits).astype(np.uint8) * 255)
    return (image > over_channels(limits)).astype(np.uint8) * 255


@family(
    "error_diffusion",
    kind=KIND,
    presets=presets("mode", "gray", "colour"),
    mode=MODE,
    instruction="dither the picture in {mode} by error diffusion",
)
def error_diffusion(image: np.ndarray, mode: str) -> np.ndarray:
    """Dither by Floyd and Steinberg's error diffusion."""
    picture = Image.fromarray(image)
    if mode == "gray":
        return np.asarray(picture.convert("1").convert("RGB"))
    return np.dstack([np.asarray(channel.convert("1").convert("L")) for channel in picture.split()])


def _nearest_of(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Each pixel replaced by the nearest of K whole-numbered colours, K x 3."""
    # Squared distances but for the pixel's own square: whole numbers under 2**24, so exact.
    red, green, blue = cv2.split(image.astype(np.float32))
    best = np.full(image.shape[:2], np.inf, np.float32)
    numbers = np.zeros(image.shape[:2], np.uint8)
    for number, (r, g, b) in enumerate(colours.astype(np.float32)):
        distances = (r * r + g * g + b * b) - 2 * (red * r + green * g + blue * b)
        numbers[distances < best] = number
        best = np.minimum(best, distances)
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    return cv2.merge([cv2.LUT(numbers, np.ascontiguousarray(levels)) for levels in table.T])


@family(
    "few_colours",
    kind=KIND,
    presets=presets("count", 2, 3, 4),
    count=Parameter("number of colours", 2, 32, whole=True),
    instruction="reduce the picture to its {count} main colours",
)
def few_colours(image: np.ndarray, count: int) -> np.ndarray:
    """Reduce the picture to a few main colours by k-means with a fixed start."""
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


@family(
    "retro_palette",
    kind=KIND,
    presets=presets("palette", *PALETTES),
    palette=Parameter("palette", choices=tuple(PALETTES)),
    instruction="redraw the picture in the {palette} palette",
)
def retro_palette(image: np.ndarray, palette: str) -> np.ndarray:
    """Replace each pixel by the nearest colour of a palette."""
    return _nearest_of(
        image,
        np.array([list(bytes.fromhex(item)) for item in PALETTES[palette]]),
    )


@pattern
def _line_screen(height: int, width: int, spacing: float, degrees: float) -> np.ndarray:
    """Where a screen of lines turns dark with the tone, H x W from 0 to 1 (read-only)."""
    return 0.5 + _waves(height, width, spacing, degrees)[1] / 2.1


@pattern
def _dot_screen(height: int, width: int, spacing: float, degrees: float) -> np.ndarray:
    """Where a screen of dots turns dark with the tone, H x W from 0 to 1 (read-only)."""
    along, across = _waves(height, width, spacing, degrees)
    return 0.5 + (along + across) / 4.2


def _waves(
    height: int, width: int, spacing: float, degrees: float
) -> tuple[np.ndarray, np.ndarray]:
    x, y = grid(height, width)
    angle, period = np.radians(degrees), spacing * min(height, width) / REFERENCE
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.cos(2 * np.pi * along / period), np.cos(2 * np.pi * across / period)


@family(
    "halftone",
    kind=KIND,
    presets=presets(
        "spacing ink", (4, "black"), (6, "black"), (9, "black"), (6, "blue"), (6, "red")
    ),
    spacing=Parameter("distance between dots", 3, 16, unit=PIXELS),
    ink=NAMED_COLOUR,
    instruction="print the picture in {ink} halftone dots {spacing} of the short side "
    "apart on white",
    in_pixels="print the picture in {ink} halftone dots of {spacing} pixels on white",
)
def halftone(image: np.ndarray, spacing: float, ink: str) -> np.ndarray:
    """Print dots of one ink that grow with darkness."""
    dark = luma(image) / np.float32(255) < _dot_screen(*image.shape[:2], spacing, 45)
    return paint(np.full_like(image, 255), dark, ink)


@family(
    "colour_halftone",
    kind=KIND,
    presets=presets("spacing", 4, 6, 9),
    spacing=Parameter("distance between dots", 3, 16, unit=PIXELS),
    instruction="print the picture in coloured halftone dots {spacing} of the short side apart",
    in_pixels="print the picture in coloured halftone dots of {spacing} pixels",
)
def colour_halftone(image: np.ndarray, spacing: float) -> np.ndarray:
    """Print a screen of dots for each channel, each at its own angle."""
    result = np.empty_like(image)
    for channel, degrees in enumerate((15, 75, 45)):
        screen = _dot_screen(*image.shape[:2], spacing, degrees)
        result[..., channel] = (image[..., channel] / np.float32(255) >= screen) * np.uint8(255)
    return result


@family(
    "line_screen",
    kind=KIND,
    presets=presets("spacing degrees", (5, 0), (5, 45), (5, 90), (5, 135), (9, 45)),
    spacing=Parameter("distance between lines", 3, 16, unit=PIXELS),
    degrees=Parameter("direction of the lines", 0, 180, unit="degrees"),
    instruction="engrave the picture in lines {spacing} of the short side apart at "
    "{degrees} degrees",
    in_pixels="engrave the picture in lines {spacing} pixels apart at {degrees} degrees",
)
def line_screen(image: np.ndarray, spacing: float, degrees: float) -> np.ndarray:
    """Print lines that grow with darkness."""
    screen = _line_screen(*image.shape[:2], spacing, degrees)
    return gray3((luma(image) / np.float32(255) >= screen).astype(np.uint8) * 255)


@pattern
def _reach_in_cells(height: int, width: int, cell: int) -> np.ndarray:
    """How far pixels are from the middle of their square cell, 1 at its edge, H x W."""
    x, y = grid(height, width)
    across, down = (np.abs((places % cell + 0.5) / cell - 0.5) for places in (x, y))
    return np.maximum(across, down) * 2


@family(
    "ascii_blocks",
    kind=KIND,
    presets=presets("size", 4, 6, 9),
    size=Parameter("distance between squares", 3, 16, unit=PIXELS),
    instruction="draw the picture in coloured squares on black, {size} of the short side "
    "apart and as large as the place is bright",
    in_pixels="draw the picture in coloured squares on black, {size} pixels apart and as large as "
    "the place is bright",
)
def ascii_blocks(image: np.ndarray, size: float) -> np.ndarray:
    """Draw squares on black that grow with brightness."""
    height, width = image.shape[:2]
    cell = pixels(image, size, 3)
    small = cv2.resize(image, (-(-width // cell), -(-height // cell)), interpolation=cv2.INTER_AREA)
    means = np.repeat(np.repeat(small, cell, 0), cell, 1)[:height, :width]
    reach = _reach_in_cells(height, width, cell)
    large = reach <= np.sqrt(luma(means) / np.float32(255))
    return cv2.copyTo(means, large.view(np.uint8))
