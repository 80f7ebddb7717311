"""Kind edges: outlines, reliefs and sketches."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import gray3, luma, odd, paint, pixels, slope, to_uint8
from datagen.transformations.blur import soften
from datagen.transformations.family import Family, presets

KIND = "edges"


def sobel(image: np.ndarray, gain: float) -> np.ndarray:
    return gray3(to_uint8(slope(luma(image)) * gain))


def neon(image: np.ndarray, gain: float) -> np.ndarray:
    slopes = to_uint8(slope(image) * gain)
    return cv2.add(slopes, soften(slopes, 1.5))


def canny(image: np.ndarray, low: float, ink: str, paper: str) -> np.ndarray:
    found = cv2.Canny(luma(image), low, 2.5 * low)
    wide = pixels(image, 1)
    if wide > 1:
        found = cv2.dilate(found, np.ones((wide, wide), np.uint8))
    return paint(paint(image, found == 0, paper), found > 0, ink)


def _moved(image: np.ndarray, degrees: float) -> np.ndarray:
    """The image moved by 1.5 pixels (at 64 px) in a direction counterclockwise from the right."""
    reach = 1.5 * min(image.shape[:2]) / 64
    across, down = reach * np.cos(np.radians(degrees)), -reach * np.sin(np.radians(degrees))
    matrix = np.array([[1, 0, across], [0, 1, down]])
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def emboss(image: np.ndarray, degrees: float) -> np.ndarray:
    return gray3(luma(cv2.addWeighted(image, -1.2, _moved(image, degrees), 1.2, 128)))


def colour_relief(image: np.ndarray, degrees: float) -> np.ndarray:
    return cv2.addWeighted(image, 2.2, _moved(image, degrees + 180), -1.2, 0)


def pencil_sketch(image: np.ndarray, sigma: float) -> np.ndarray:
    gray = luma(image)
    return gray3(cv2.divide(gray, cv2.max(soften(gray, sigma), 1), scale=250))


def laplacian(image: np.ndarray, gain: float) -> np.ndarray:
    return to_uint8(255 - np.abs(cv2.Laplacian(soften(image, 0.7), cv2.CV_32F, ksize=3)) * gain)


def contour_lines(image: np.ndarray, levels: int, ink: str) -> np.ndarray:
    steps = (soften(luma(image), 1.0).astype(np.int32) * levels) // 256
    wide = pixels(image, 1)
    edge = (
        cv2.morphologyEx(
            steps.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((wide + 1, wide + 1), np.uint8)
        )
        > 0
    )
    return paint(np.full_like(image, 255), edge, ink)


def outline(image: np.ndarray, ink: str) -> np.ndarray:
    gray = soften(luma(image), 0.6)
    edge = cv2.adaptiveThreshold(
        gray, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, odd(image, 7), 7
    )
    return paint(image, edge > 0, ink)


def ink_drawing(image: np.ndarray, sigma: float) -> np.ndarray:
    gray = luma(image).astype(np.float32)
    difference = soften(gray, sigma) - 0.97 * soften(gray, 1.8 * sigma)
    return gray3((difference > 0).astype(np.uint8) * 255)


FAMILIES = (
    Family(
        "sobel",
        KIND,
        True,
        {"gain": "brightness of the edges, 0.2-4"},
        presets("gain", 0.35, 0.8, 1.8),
        sobel,
        "show the slopes of brightness on black with gain {gain}".format,
    ),
    Family(
        "neon",
        KIND,
        True,
        {"gain": "brightness of the edges, 0.2-2"},
        presets("gain", 0.2, 0.45),
        neon,
        "turn the picture into glowing coloured edges on black with gain {gain}".format,
    ),
    Family(
        "canny",
        KIND,
        True,
        {
            "low": "lower threshold of the edges, 10-200",
            "ink": "a named colour",
            "paper": "a named colour",
        },
        presets(
            "low ink paper",
            (30, "black", "white"),
            (80, "black", "white"),
            (30, "white", "black"),
            (50, "red", "white"),
            (50, "yellow", "navy"),
        ),
        canny,
        "draw the edges above threshold {low} in {ink} on {paper}".format,
    ),
    Family(
        "emboss",
        KIND,
        True,
        {"degrees": "direction of the light, 0-360, counterclockwise from the right"},
        presets("degrees", 0, 45, 90, 135, 180, 225, 270, 315),
        emboss,
        "emboss the picture in gray with light from {degrees} degrees".format,
    ),
    Family(
        "colour_relief",
        KIND,
        True,
        {"degrees": "direction of the light, 0-360, counterclockwise from the right"},
        presets("degrees", 45, 135, 225, 315),
        colour_relief,
        "raise a coloured relief with light from {degrees} degrees".format,
    ),
    Family(
        "pencil_sketch",
        KIND,
        True,
        {"sigma": "pixels at 64 px, 0.5-8"},
        presets("sigma", 1.0, 4.0),
        pencil_sketch,
        "turn the picture into a pencil sketch of stroke width {sigma:g}".format,
    ),
    Family(
        "laplacian",
        KIND,
        True,
        {"gain": "strength of the lines, 0.2-4"},
        presets("gain", 0.6, 2.0),
        laplacian,
        "draw coloured Laplacian lines on white with gain {gain}".format,
    ),
    Family(
        "contour_lines",
        KIND,
        True,
        {"levels": "number of brightness levels, 2-16", "ink": "a named colour"},
        presets("levels ink", (3, "black"), (5, "black"), (8, "black"), (5, "brown"), (5, "blue")),
        contour_lines,
        "draw the contour lines of {levels} brightness levels in {ink} on white".format,
    ),
    Family(
        "outline",
        KIND,
        True,
        {"ink": "a named colour"},
        presets("ink", "black", "white", "red", "cyan"),
        outline,
        "trace the outlines in {ink} over the picture".format,
    ),
    Family(
        "ink_drawing",
        KIND,
        True,
        {"sigma": "pixels at 64 px, 0.5-4"},
        presets("sigma", 0.8, 2.0),
        ink_drawing,
        "turn the picture into a black and white ink drawing of stroke width {sigma:g}".format,
    ),
)
