"""Kind blur: softening, smearing and sharpening. Lengths are pixels at a short side of 64 px and grow with the image."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import REFERENCE, blend, choose, odd, to_uint8, unit, warp
from datagen.transformations.family import Family, presets

KIND = "blur"
WIDEST = 12.0  # pixels; the standard deviation from which on a blur runs on a smaller copy


def soften(image: np.ndarray, sigma: float) -> np.ndarray:
    """The image blurred by a Gaussian of `sigma` pixels at a short side of 64 px."""
    height, width = image.shape[:2]
    spread = sigma * min(height, width) / REFERENCE
    if spread <= WIDEST:
        return cv2.GaussianBlur(image, (0, 0), spread, borderType=cv2.BORDER_REFLECT_101)
    # The cost of a wide Gaussian grows with its width; on a smaller copy it looks the same.
    zoom = WIDEST / 2 / spread
    small = cv2.resize(
        image,
        (max(1, round(width * zoom)), max(1, round(height * zoom))),
        interpolation=cv2.INTER_AREA,
    )
    small = cv2.GaussianBlur(small, (0, 0), WIDEST / 2, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return soften(image, sigma)


def motion_blur(image: np.ndarray, degrees: float, length: float) -> np.ndarray:
    size = odd(image, length)
    line = np.zeros((size, size), np.float32)
    line[size // 2] = 1
    middle = (size - 1) / 2
    kernel = cv2.warpAffine(
        line, cv2.getRotationMatrix2D((middle, middle), degrees, 1.0), (size, size)
    )
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _mean_of(image: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    total = np.zeros(image.shape, np.float32)
    for matrix in matrices:
        total += warp(image, matrix)
    return to_uint8(total / len(matrices))


def zoom_blur(image: np.ndarray, strength: float) -> np.ndarray:
    centre = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    return _mean_of(
        image,
        [cv2.getRotationMatrix2D(centre, 0, 1 - strength * step) for step in np.linspace(0, 1, 9)],
    )


def spin_blur(image: np.ndarray, degrees: float) -> np.ndarray:
    centre = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    return _mean_of(
        image,
        [
            cv2.getRotationMatrix2D(centre, angle, 1.0)
            for angle in np.linspace(-degrees / 2, degrees / 2, 11)
        ],
    )


def sharpen(image: np.ndarray, amount: float, sigma: float) -> np.ndarray:
    return cv2.addWeighted(image, 1 + amount, soften(image, sigma), -amount, 0)


def high_pass(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.addWeighted(image, 1.5, soften(image, sigma), -1.5, 128)


def median_blur(image: np.ndarray, size: float) -> np.ndarray:
    return cv2.medianBlur(image, odd(image, size))


def tilt_shift(image: np.ndarray, band: str) -> np.ndarray:
    centre = choose({"top": 0.15, "middle": 0.5, "bottom": 0.85}, band, "band")
    away = np.clip((np.abs(unit(*image.shape[:2])[1] - centre) - 0.1) / 0.12, 0, 1)
    return blend(image, soften(image, 4.0), away)


def soft_glow(image: np.ndarray, sigma: float) -> np.ndarray:
    glow = soften(image, sigma)
    return 255 - cv2.multiply(255 - image, 255 - glow, scale=1 / 255)


def double_exposure(image: np.ndarray, right: float, down: float) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.addWeighted(
        image, 0.5, np.roll(image, (round(down * height), round(right * width)), (0, 1)), 0.5, 0
    )


FAMILIES = (
    Family(
        "gaussian_blur",
        KIND,
        True,
        {"sigma": "pixels at 64 px, 0.5-12"},
        presets("sigma", 1.5, 3.0, 6.0),
        gaussian_blur,
        "blur the picture with a Gaussian of {sigma:g} pixels".format,
    ),
    Family(
        "motion_blur",
        KIND,
        True,
        {
            "degrees": "direction, 0-180, counterclockwise from the right",
            "length": "pixels at 64 px, 3-31",
        },
        presets("degrees length", (0, 9), (0, 17), (45, 13), (90, 9), (90, 17), (135, 13)),
        motion_blur,
        "smear the picture over {length} pixels at {degrees} degrees".format,
    ),
    Family(
        "zoom_blur",
        KIND,
        True,
        {"strength": "share by which the picture grows, 0-0.8"},
        presets("strength", 0.2, 0.35, 0.55),
        zoom_blur,
        "blur the picture outwards from the middle with strength {strength}".format,
    ),
    Family(
        "spin_blur",
        KIND,
        True,
        {"degrees": "degrees of the turn, 0-180"},
        presets("degrees", 25, 50, 90),
        spin_blur,
        "blur the picture around its middle over {degrees} degrees".format,
    ),
    Family(
        "sharpen",
        KIND,
        True,
        {"amount": "strength, 0-10", "sigma": "pixels at 64 px, 0.5-8"},
        presets("amount sigma", (1.5, 1.5), (3.0, 1.5), (6.0, 1.5), (1.5, 6.0)),
        sharpen,
        "sharpen the picture by {amount:g} at a radius of {sigma:g} pixels".format,
    ),
    Family(
        "high_pass",
        KIND,
        True,
        {"sigma": "pixels at 64 px, 0.5-12"},
        presets("sigma", 1.5, 3.0, 6.0),
        high_pass,
        "keep only details under {sigma:g} pixels on gray".format,
    ),
    Family(
        "median_blur",
        KIND,
        True,
        {"size": "pixels at 64 px, odd, 3-25"},
        presets("size", 7, 13),
        median_blur,
        "replace each pixel by the median of {size} by {size} pixels".format,
    ),
    Family(
        "tilt_shift",
        KIND,
        True,
        {"band": "top, middle or bottom"},
        presets("band", "top", "middle", "bottom"),
        tilt_shift,
        "blur all but a sharp band at the {band}".format,
    ),
    Family(
        "soft_glow",
        KIND,
        True,
        {"sigma": "pixels at 64 px, 0.5-12"},
        presets("sigma", 2.0, 6.0),
        soft_glow,
        "add a soft bright glow of {sigma:g} pixels".format,
    ),
    Family(
        "double_exposure",
        KIND,
        True,
        {"right": "share of the width, 0-1", "down": "share of the height, 0-1"},
        presets("right down", (0.12, 0.0), (0.3, 0.0), (0.0, 0.12), (0.0, 0.3)),
        double_exposure,
        "lay a copy moved right by {right} and down by {down} over the picture at half strength".format,
    ),
)
