"""Kind painterly: brushes, cartoons and canvases. Lengths are pixels at a short side of 64 px."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    choose,
    gray3,
    grid,
    luma,
    noise,
    odd,
    pixels,
    slope,
    to_uint8,
)
from datagen.transformations.blur import soften
from datagen.transformations.family import Family, presets

KIND = "painterly"


def oil(image: np.ndarray, radius: float, tones: int) -> np.ndarray:
    size = odd(image, 2 * radius + 1)
    bins = (luma(image).astype(np.int32) * tones) // 256
    best = np.zeros(bins.shape, np.float32)
    result = np.zeros(image.shape, np.float32)
    padded = np.dstack([image, np.full(bins.shape, 255, np.uint8)])
    for tone in range(tones):
        sums = cv2.blur((padded * (bins == tone)[..., None]).astype(np.float32), (size, size))
        better = sums[..., 3] > best
        cv2.copyTo(sums[..., 3], better.astype(np.uint8), best)
        cv2.copyTo(sums[..., :3], better.astype(np.uint8), result)
    return to_uint8(result * (255 / best)[..., None])


def kuwahara(image: np.ndarray, radius: float) -> np.ndarray:
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
            result = np.where(
                better[..., None], means[top : top + height, left : left + width], result
            )
    return to_uint8(result)


def cartoon(image: np.ndarray, levels: int) -> np.ndarray:
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
    return flat * (edge[..., None] > 0).astype(np.uint8)


def brush(image: np.ndarray, tone: str, size: float) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (odd(image, size),) * 2)
    return choose({"bright": cv2.dilate, "dark": cv2.erode}, tone, "tone")(image, kernel)


def strokes(image: np.ndarray, degrees: float, length: float) -> np.ndarray:
    height, width = image.shape[:2]
    size = odd(image, length)
    line = np.zeros((size, size), np.float32)
    line[size // 2] = 1
    middle = (size - 1) / 2
    line = cv2.warpAffine(
        line, cv2.getRotationMatrix2D((middle, middle), degrees, 1.0), (size, size)
    )
    line /= line.sum()
    grain = cv2.filter2D(noise(height, width, 1, 11)[..., 0], -1, line)
    return to_uint8(
        cv2.filter2D(image, -1, line) + (grain * 30 / max(float(grain.std()), 1e-6))[..., None]
    )


def canvas(image: np.ndarray, spacing: float) -> np.ndarray:
    x, y = grid(*image.shape[:2])
    period = spacing * min(image.shape[:2]) / 64
    weave = np.sin(2 * np.pi * x / period) * np.cos(np.pi * y / period) + np.sin(
        2 * np.pi * y / period
    ) * np.cos(np.pi * x / period)
    return to_uint8(image * (1 + 0.45 * weave[..., None]))


def watercolour(image: np.ndarray, sigma: float) -> np.ndarray:
    height, width = image.shape[:2]
    flat = cv2.medianBlur(image, odd(image, 5)).astype(np.float32)
    blotches = soften(noise(height, width, 1, 5)[..., 0], sigma)
    paper = np.clip(0.4 + 0.25 * blotches / max(float(blotches.std()), 1e-6), 0, 0.85)
    rims = slope(flat)
    return to_uint8(flat + (255 - flat) * paper[..., None] - 0.25 * np.minimum(rims, 300))


def frosted_glass(image: np.ndarray, reach: float, seed: int) -> np.ndarray:
    height, width = image.shape[:2]
    x, y = grid(height, width)
    offset = noise(height, width, 2, seed) * np.float32(reach * min(height, width) / 64)
    return cv2.remap(
        image,
        x + offset[..., 0],
        y + offset[..., 1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def comic(image: np.ndarray, spacing: float) -> np.ndarray:
    x, y = grid(*image.shape[:2])
    period = spacing * min(image.shape[:2]) / 64
    gray = luma(image)
    dots = np.cos(2 * np.pi * (x + y) / period) + np.cos(2 * np.pi * (x - y) / period) > 0.4
    shade = np.where(
        gray > 165, 255, np.where(gray > 85, np.where(dots, 60, 235), np.where(dots, 0, 40))
    ).astype(np.uint8)
    return gray3(shade)


FAMILIES = (
    Family(
        "oil",
        KIND,
        True,
        {"radius": "pixels at 64 px, 1-6", "tones": "brightness bins, 3-12"},
        presets("radius tones", (2, 6), (4, 6)),
        oil,
        "paint the picture in oil with a brush of {radius} pixels and {tones} tones".format,
    ),
    Family(
        "kuwahara",
        KIND,
        True,
        {"radius": "pixels at 64 px, 2-10"},
        presets("radius", 3, 5, 8),
        kuwahara,
        "smooth the picture into painted patches of {radius} pixels".format,
    ),
    Family(
        "cartoon",
        KIND,
        True,
        {"levels": "levels per channel, 2-8"},
        presets("levels", 3, 5),
        cartoon,
        "turn the picture into a cartoon with {levels} levels per channel and black outlines".format,
    ),
    Family(
        "brush",
        KIND,
        True,
        {"tone": "bright or dark", "size": "pixels at 64 px, odd, 3-15"},
        presets(
            "tone size",
            ("bright", 3),
            ("bright", 7),
            ("bright", 11),
            ("dark", 3),
            ("dark", 7),
            ("dark", 11),
        ),
        brush,
        "let the {tone} parts spread with a round brush of {size} pixels".format,
    ),
    Family(
        "strokes",
        KIND,
        True,
        {
            "degrees": "direction, 0-180, counterclockwise from the right",
            "length": "pixels at 64 px, 3-31",
        },
        presets("degrees length", (0, 13), (45, 13), (90, 13), (135, 13)),
        strokes,
        "paint the picture in rough strokes of {length} pixels at {degrees} degrees".format,
    ),
    Family(
        "canvas",
        KIND,
        True,
        {"spacing": "pixels at 64 px, 3-16"},
        presets("spacing", 4, 8),
        canvas,
        "print the picture on a woven canvas with threads {spacing} pixels wide".format,
    ),
    Family(
        "watercolour",
        KIND,
        True,
        {"sigma": "size of the blotches, pixels at 64 px, 1-8"},
        presets("sigma", 1.5, 5.0),
        watercolour,
        "turn the picture into a watercolour with blotches of {sigma:g} pixels".format,
    ),
    Family(
        "frosted_glass",
        KIND,
        True,
        {"reach": "pixels at 64 px, 0.5-8", "seed": "integer, fixes the pattern"},
        presets("reach seed", (1.2, 3), (2.5, 3), (5.0, 3)),
        frosted_glass,
        "look at the picture through frosted glass that scatters over {reach:g} pixels, pattern {seed}".format,
    ),
    Family(
        "comic",
        KIND,
        True,
        {"spacing": "pixels at 64 px, 3-12"},
        presets("spacing", 4, 7),
        comic,
        "turn the picture into a comic print of three tones with dots {spacing} pixels apart".format,
    ),
)
