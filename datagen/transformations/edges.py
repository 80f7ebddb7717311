"""Kind edges: outlines, reliefs and sketches."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    NAMED_COLOUR,
    gradient_magnitude,
    gray3,
    luma,
    odd,
    paint,
    pixels,
    to_uint8,
)
from datagen.transformations.blur import soften
from datagen.transformations.declaration import PIXELS, REFERENCE, Parameter, family, presets

KIND = "edges"


@family(
    "sobel",
    kind=KIND,
    presets=presets("gain", 0.35, 0.8, 1.8),
    gain=Parameter("brightness of the edges", 0.2, 4),
    instruction="show the slopes of brightness on black with gain {gain}",
)
def sobel(image: np.ndarray, gain: float) -> np.ndarray:
    """Show the magnitude of the luma's gradient."""
    return gray3(to_uint8(gradient_magnitude(luma(image)) * gain))


@family(
    "neon",
    kind=KIND,
    presets=presets("gain", 0.2, 0.45),
    gain=Parameter("brightness of the edges", 0.2, 2),
    instruction="turn the picture into glowing coloured edges on black with gain {gain}",
)
def neon(image: np.ndarray, gain: float) -> np.ndarray:
    """Show the magnitude of each channel's gradient, with a glow."""
    slopes = to_uint8(gradient_magnitude(image) * gain)
    return cv2.add(slopes, soften(slopes, 1.5))


@family(
    "canny",
    kind=KIND,
    presets=presets(
        "low ink paper",
        (30, "black", "white"),
        (80, "black", "white"),
        (30, "white", "black"),
        (50, "red", "white"),
        (50, "yellow", "navy"),
    ),
    low=Parameter("lower threshold of the edges", 10, 200),
    ink=NAMED_COLOUR,
    paper=NAMED_COLOUR,
    instruction="draw the edges above threshold {low} in {ink} on {paper}",
)
def canny(image: np.ndarray, low: float, ink: str, paper: str) -> np.ndarray:
    """Draw the edges that Canny's detector finds."""
    edge_mask = cv2.Canny(luma(image), low, 2.5 * low)
    wide = pixels(image, 1)
    if wide > 1:
        edge_mask = cv2.dilate(edge_mask, np.ones((wide, wide), np.uint8))
    return paint(paint(image, edge_mask == 0, paper), edge_mask > 0, ink)


def _moved(image: np.ndarray, degrees: float) -> np.ndarray:
    """The image moved by 1.5 pixels (at 64 px) in a direction counterclockwise from the right."""
    reach = 1.5 * min(image.shape[:2]) / REFERENCE
    across, down = reach * np.cos(np.radians(degrees)), -reach * np.sin(np.radians(degrees))
    matrix = np.array([[1, 0, across], [0, 1, down]])
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


@family(
    "emboss",
    kind=KIND,
    presets=presets("degrees", 0, 45, 90, 135, 180, 225, 270, 315),
    degrees=Parameter(
        "direction of the light, counterclockwise from the right", 0, 360, unit="degrees"
    ),
    instruction="emboss the picture in gray with light from {degrees} degrees",
)
def emboss(image: np.ndarray, degrees: float) -> np.ndarray:
    """Show the picture as a gray relief."""
    return gray3(luma(cv2.addWeighted(image, -1.2, _moved(image, degrees), 1.2, 128)))


@family(
    "colour_relief",
    kind=KIND,
    presets=presets("degrees", 45, 135, 225, 315),
    degrees=Parameter(
        "direction of the light, counterclockwise from the right", 0, 360, unit="degrees"
    ),
    instruction="raise a coloured relief with light from {degrees} degrees",
)
def colour_relief(image: np.ndarray, degrees: float) -> np.ndarray:
    """Raise a relief and keep the colours."""
    return cv2.addWeighted(image, 2.2, _moved(image, degrees + 180), -1.2, 0)


@family(
    "pencil_sketch",
    kind=KIND,
    presets=presets("sigma", 1.0, 4.0),
    sigma=Parameter("width of the strokes", 0.5, 8, unit=PIXELS),
    instruction="turn the picture into a pencil sketch with strokes of {sigma} of the short side",
    in_pixels="turn the picture into a pencil sketch of stroke width {sigma:g}",
)
def pencil_sketch(image: np.ndarray, sigma: float) -> np.ndarray:
    """Divide luma by a blurred copy of it, as in a sketch on white."""
    gray = luma(image)
    return gray3(cv2.divide(gray, cv2.max(soften(gray, sigma), 1), scale=250))


@family(
    "laplacian",
    kind=KIND,
    presets=presets("gain", 0.6, 2.0),
    gain=Parameter("strength of the lines", 0.2, 4),
    instruction="draw coloured Laplacian lines on white with gain {gain}",
)
def laplacian(image: np.ndarray, gain: float) -> np.ndarray:
    """Draw the magnitude of the Laplacian on white."""
    return to_uint8(255 - np.abs(cv2.Laplacian(soften(image, 0.7), cv2.CV_32F, ksize=3)) * gain)


@family(
    "contour_lines",
    kind=KIND,
    presets=presets(
        "levels ink", (3, "black"), (5, "black"), (8, "black"), (5, "brown"), (5, "blue")
    ),
    levels=Parameter("number of brightness levels", 2, 16, whole=True),
    ink=NAMED_COLOUR,
    instruction="draw the contour lines of {levels} brightness levels in {ink} on white",
)
def contour_lines(image: np.ndarray, levels: int, ink: str) -> np.ndarray:
    """Draw the lines between levels of brightness, as on a map."""
    steps = (soften(luma(image), 1.0).astype(np.int32) * levels) // 256
    wide = pixels(image, 1)
    edge = (
        cv2.morphologyEx(
            steps.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((wide + 1, wide + 1), np.uint8)
        )
        > 0
    )
    return paint(np.full_like(image, 255), edge, ink)


@family(
    "outline",
    kind=KIND,
    presets=presets("ink", "black", "white", "red", "cyan"),
    ink=NAMED_COLOUR,
    instruction="trace the outlines in {ink} over the picture",
)
def outline(image: np.ndarray, ink: str) -> np.ndarray:
    """Trace dark local lines in a colour over the picture."""
    gray = soften(luma(image), 0.6)
    edge = cv2.adaptiveThreshold(
        gray, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, odd(image, 7), 7
    )
    return paint(image, edge > 0, ink)


@family(
    "ink_drawing",
    kind=KIND,
    presets=presets("sigma", 0.8, 2.0),
    sigma=Parameter("width of the strokes", 0.5, 4, unit=PIXELS),
    instruction="turn the picture into a black and white ink drawing with strokes of "
    "{sigma} of the short side",
    in_pixels="turn the picture into a black and white ink drawing of stroke width {sigma:g}",
)
def ink_drawing(image: np.ndarray, sigma: float) -> np.ndarray:
    """Make each pixel black or white by a difference of two Gaussians."""
    gray = luma(image).astype(np.float32)
    difference = soften(gray, sigma) - 0.97 * soften(gray, 1.8 * sigma)
    return gray3((difference > 0).astype(np.uint8) * 255)
