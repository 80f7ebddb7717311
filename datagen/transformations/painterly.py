"""Kind painterly: brushes, cartoons and canvases. Lengths are pixels at a short side of 64 px."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    gradient_magnitude,
    gray3,
    grid,
    luma,
    noise,
    odd,
    over_channels,
    pattern,
    pixels,
    to_uint8,
)
from datagen.transformations.blur import soften
from datagen.transformations.declaration import PIXELS, REFERENCE, SEED, Parameter, family, presets

KIND = "painterly"
SPREADING = {"bright": cv2.dilate, "dark": cv2.erode}


@family(
    "oil",
    kind=KIND,
    presets=presets("radius tones", (2, 6), (4, 6)),
    radius=Parameter("radius of the brush", 1, 6, unit=PIXELS),
    tones=Parameter("number of tones", 3, 12, whole=True),
    instruction="paint the picture in oil with a brush of {radius} of the short side and "
    "{tones} tones",
    in_pixels="paint the picture in oil with a brush of {radius} pixels and {tones} tones",
)
def oil(image: np.ndarray, radius: float, tones: int) -> np.ndarray:
    """Replace each pixel by the mean of the most common tone around it."""
    size = odd(image, 2 * radius + 1)
    bins = (luma(image).astype(np.int32) * tones) // 256
    best = np.zeros(bins.shape, np.float32)
    result = np.zeros(image.shape, np.float32)
    padded = np.dstack([image, np.full(bins.shape, 255, np.uint8)])
    for tone in range(tones):
        chosen = cv2.copyTo(padded, (bins == tone).view(np.uint8))
        sums = cv2.blur(chosen.astype(np.float32), (size, size))
        better = sums[..., 3] > best
        cv2.copyTo(sums[..., 3], better.astype(np.uint8), best)
        cv2.copyTo(sums[..., :3], better.astype(np.uint8), result)
    return to_uint8(result * over_channels(255 / best))


@family(
    "kuwahara",
    kind=KIND,
    presets=presets("radius", 3, 5, 8),
    radius=Parameter("radius of the patches", 2, 10, unit=PIXELS),
    instruction="smooth the picture into painted patches of {radius} of the short side",
    in_pixels="smooth the picture into painted patches of {radius} pixels",
)
def kuwahara(image: np.ndarray, radius: float) -> np.ndarray:
    """Replace each pixel by the mean of the smoothest of four windows around it."""
    height, width = image.shape[:2]
    reach = pixels(image, radius, 2)
    size = (reach + 1, reach + 1)
    padded = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REFLECT_101).astype(
        np.float32
    )
    gray = cv2.cvtColor(padded, cv2.COLOR_RGB2GRAY)
    means = cv2.boxFilter(padded, -1, size, anchor=(0, 0))
    spread = (
        cv2.boxFilter(gray * gray, -1, size, anchor=(0, 0))
        - cv2.boxFilter(gray, -1, size, anchor=(0, 0)) ** 2
    )
    best, result = np.full((height, width), np.inf, np.float32), np.zeros(image.shape, np.float32)
    for top in (0, reach):
        for left in (0, reach):
            part = spread[top : top + height, left : left + width]
            better = part < best
            best = np.where(better, part, best)
            corner = means[top : top + height, left : left + width]
            cv2.copyTo(corner, better.view(np.uint8), result)
    return to_uint8(result)


@family(
    "cartoon",
    kind=KIND,
    presets=presets("levels", 3, 5),
    levels=Parameter("levels per channel", 2, 8, whole=True),
    instruction="turn the picture into a cartoon with {levels} levels per channel and black "
    "outlines",
)
def cartoon(image: np.ndarray, levels: int) -> np.ndarray:
    """Flatten the colours and draw black outlines."""
    smooth = cv2.bilateralFilter(image, 5, 60, 5)
    flat = cv2.LUT(smooth, to_uint8((np.floor(np.arange(256) * levels / 256) + 0.5) * 255 / levels))
    edge = cv2.adaptiveThreshold(
        soften(luma(image), 0.7),
        255,
        cv2.ADAPTIVE_THRESH_MEAN_C,
        cv2.THRESH_BINARY,
        odd(image, 7),
        6,
    )
    return cv2.copyTo(flat, edge)


@family(
    "brush",
    kind=KIND,
    presets=presets(
        "tone size",
        ("bright", 3),
        ("bright", 7),
        ("bright", 11),
        ("dark", 3),
        ("dark", 7),
        ("dark", 11),
    ),
    tone=Parameter("tones that spread", choices=tuple(SPREADING)),
    size=Parameter("width of the brush, rounded to an odd number of pixels", 3, 15, unit=PIXELS),
    instruction="let the {tone} parts spread with a round brush of {size} of the short side",
    in_pixels="let the {tone} parts spread with a round brush of {size} pixels",
)
def brush(image: np.ndarray, tone: str, size: float) -> np.ndarray:
    """Let bright or dark parts spread under a round brush."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (odd(image, size),) * 2)
    return SPREADING[tone](image, kernel)


@family(
    "strokes",
    kind=KIND,
    presets=presets("degrees length", (0, 13), (45, 13), (90, 13), (135, 13)),
    degrees=Parameter("direction, counterclockwise from the right", 0, 180, unit="degrees"),
    length=Parameter("length of the strokes", 3, 31, unit=PIXELS),
    instruction="paint the picture in rough strokes of {length} of the short side at "
    "{degrees} degrees",
    in_pixels="paint the picture in rough strokes of {length} pixels at {degrees} degrees",
)
def strokes(image: np.ndarray, degrees: float, length: float) -> np.ndarray:
    """Smear the picture and a grain along one direction."""
    size = odd(image, length)
    grain = _grain(*image.shape[:2], size, degrees)
    return to_uint8(cv2.filter2D(image, -1, _stroke(size, degrees)) + over_channels(grain))


def _stroke(size: int, degrees: float) -> np.ndarray:
    """A line through the middle of a square, float32 size x size, its sum 1."""
    line = np.zeros((size, size), np.float32)
    line[size // 2] = 1
    middle = (size - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    line = cv2.warpAffine(line, turn, (size, size))
    return line / line.sum()


@pattern
def _grain(height: int, width: int, size: int, degrees: float) -> np.ndarray:
    """Noise smeared along strokes, float32 H x W with a standard deviation of 30 levels."""
    grain = cv2.filter2D(noise(height, width, 1, 11)[..., 0], -1, _stroke(size, degrees))
    return grain * 30 / max(float(grain.std()), 1e-6)


@family(
    "canvas",
    kind=KIND,
    presets=presets("spacing", 4, 8),
    spacing=Parameter("width of the threads", 3, 16, unit=PIXELS),
    instruction="print the picture on a woven canvas with threads as wide as {spacing} of "
    "the short side",
    in_pixels="print the picture on a woven canvas with threads {spacing} pixels wide",
)
def canvas(image: np.ndarray, spacing: float) -> np.ndarray:
    """Darken and lighten the picture with the weave of a canvas."""
    x, y = grid(*image.shape[:2])
    period = spacing * min(image.shape[:2]) / REFERENCE
    weave = np.sin(2 * np.pi * x / period) * np.cos(np.pi * y / period) + np.sin(
        2 * np.pi * y / period
    ) * np.cos(np.pi * x / period)
    return to_uint8(image * over_channels(1 + 0.45 * weave))


@family(
    "watercolour",
    kind=KIND,
    presets=presets("sigma", 1.5, 5.0),
    sigma=Parameter("size of the blotches", 1, 8, unit=PIXELS),
    instruction="turn the picture into a watercolour with blotches of {sigma} of the short side",
    in_pixels="turn the picture into a watercolour with blotches of {sigma:g} pixels",
)
def watercolour(image: np.ndarray, sigma: float) -> np.ndarray:
    """Flatten the picture, let paper shine through in blotches, darken the edges."""
    flat = cv2.medianBlur(image, odd(image, 5)).astype(np.float32)
    paper = over_channels(_blotches(*image.shape[:2], sigma))
    rims = gradient_magnitude(flat)
    return to_uint8(flat + (255 - flat) * paper - 0.25 * np.minimum(rims, 300))


@pattern
def _blotches(height: int, width: int, sigma: float) -> np.ndarray:
    """How much paper shines through, float32 H x W from 0 to 0.85."""
    blotches = soften(noise(height, width, 1, 5)[..., 0], sigma)
    return np.clip(0.4 + 0.25 * blotches / max(float(blotches.std()), 1e-6), 0, 0.85)


@family(
    "frosted_glass",
    kind=KIND,
    presets=presets("reach seed", (1.2, 3), (2.5, 3), (5.0, 3)),
    reach=Parameter("how far the glass scatters", 0.5, 8, unit=PIXELS),
    seed=SEED,
    instruction="look at the picture through frosted glass that scatters over {reach} of "
    "the short side, pattern {seed}",
    in_pixels="look at the picture through frosted glass that scatters over {reach:g} pixels, "
    "pattern {seed}",
)
def frosted_glass(image: np.ndarray, reach: float, seed: int) -> np.ndarray:
    """Read each pixel from a random place nearby."""
    height, width = image.shape[:2]
    x, y = grid(height, width)
    offset = noise(height, width, 2, seed) * np.float32(reach * min(height, width) / REFERENCE)
    return cv2.remap(
        image,
        x + offset[..., 0],
        y + offset[..., 1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )


@family(
    "comic",
    kind=KIND,
    presets=presets("spacing", 4, 7),
    spacing=Parameter("distance between dots", 3, 12, unit=PIXELS),
    instruction="turn the picture into a comic print of three tones with dots {spacing} of "
    "the short side apart",
    in_pixels="turn the picture into a comic print of three tones with dots {spacing} pixels apart",
)
def comic(image: np.ndarray, spacing: float) -> np.ndarray:
    """Print three tones, with dots for the middle one."""
    x, y = grid(*image.shape[:2])
    period = spacing * min(image.shape[:2]) / REFERENCE
    gray = luma(image)
    dots = np.cos(2 * np.pi * (x + y) / period) + np.cos(2 * np.pi * (x - y) / period) > 0.4
    shade = np.where(
        gray > 165, 255, np.where(gray > 85, np.where(dots, 60, 235), np.where(dots, 0, 40))
    ).astype(np.uint8)
    return gray3(shade)
