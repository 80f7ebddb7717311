"""Kind blur: softening, smearing and sharpening.

Lengths are pixels at a short side of 64 px and grow with the image.
"""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import blend, odd, to_uint8, unit, warp
from datagen.transformations.declaration import PIXELS, REFERENCE, Parameter, family, presets

KIND = "blur"
BANDS = {"top": 0.15, "middle": 0.5, "bottom": 0.85}  # shares of the height
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


@family(
    "gaussian_blur",
    kind=KIND,
    presets=presets("sigma", 1.5, 3.0, 6.0),
    sigma=Parameter("standard deviation of the Gaussian", 0.5, 12, unit=PIXELS),
    instruction="blur the picture with a Gaussian of {sigma} of the short side",
    in_pixels="blur the picture with a Gaussian of {sigma:g} pixels",
)
def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian."""
    return soften(image, sigma)


@family(
    "motion_blur",
    kind=KIND,
    presets=presets("degrees length", (0, 9), (0, 17), (45, 13), (90, 9), (90, 17), (135, 13)),
    degrees=Parameter("direction, counterclockwise from the right", 0, 180, unit="degrees"),
    length=Parameter("length of the smear", 3, 31, unit=PIXELS),
    instruction="smear the picture over {length} of the short side at {degrees} degrees",
    in_pixels="smear the picture over {length} pixels at {degrees} degrees",
)
def motion_blur(image: np.ndarray, degrees: float, length: float) -> np.ndarray:
    """Smear along a line."""
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
        cv2.accumulate(warp(image, matrix), total)
    return to_uint8(total / len(matrices))


@family(
    "zoom_blur",
    kind=KIND,
    presets=presets("strength", 0.2, 0.35, 0.55),
    strength=Parameter("share by which the picture grows", 0, 0.8),
    instruction="blur the picture outwards from the middle with strength {strength}",
)
def zoom_blur(image: np.ndarray, strength: float) -> np.ndarray:
    """Average copies that grow from the middle."""
    centre = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    return _mean_of(
        image,
        [cv2.getRotationMatrix2D(centre, 0, 1 - strength * step) for step in np.linspace(0, 1, 9)],
    )


@family(
    "spin_blur",
    kind=KIND,
    presets=presets("degrees", 25, 50, 90),
    degrees=Parameter("turn that is smeared over", 0, 180, unit="degrees"),
    instruction="blur the picture around its middle over {degrees} degrees",
)
def spin_blur(image: np.ndarray, degrees: float) -> np.ndarray:
    """Average copies that are turned around the middle."""
    centre = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    return _mean_of(
        image,
        [
            cv2.getRotationMatrix2D(centre, angle, 1.0)
            for angle in np.linspace(-degrees / 2, degrees / 2, 11)
        ],
    )


@family(
    "sharpen",
    kind=KIND,
    presets=presets("amount sigma", (1.5, 1.5), (3.0, 1.5), (6.0, 1.5), (1.5, 6.0)),
    amount=Parameter("strength", 0, 10),
    sigma=Parameter("standard deviation of the Gaussian", 0.5, 8, unit=PIXELS),
    instruction="sharpen the picture by {amount:g} at a radius of {sigma} of the short side",
    in_pixels="sharpen the picture by {amount:g} at a radius of {sigma:g} pixels",
)
def sharpen(image: np.ndarray, amount: float, sigma: float) -> np.ndarray:
    """Add the difference from a blurred copy (unsharp mask)."""
    return cv2.addWeighted(image, 1 + amount, soften(image, sigma), -amount, 0)


@family(
    "high_pass",
    kind=KIND,
    presets=presets("sigma", 1.5, 3.0, 6.0),
    sigma=Parameter("standard deviation of the Gaussian", 0.5, 12, unit=PIXELS),
    instruction="keep only details under {sigma} of the short side on gray",
    in_pixels="keep only details under {sigma:g} pixels on gray",
)
def high_pass(image: np.ndarray, sigma: float) -> np.ndarray:
    """Keep the difference from a blurred copy, on gray."""
    return cv2.addWeighted(image, 1.5, soften(image, sigma), -1.5, 128)


@family(
    "median_blur",
    kind=KIND,
    presets=presets("size", 7, 13),
    size=Parameter("side of the window, rounded to an odd number of pixels", 3, 25, unit=PIXELS),
    instruction="replace each pixel by the median of a square of {size} of the short side",
    in_pixels="replace each pixel by the median of {size} by {size} pixels",
)
def median_blur(image: np.ndarray, size: float) -> np.ndarray:
    """Replace each pixel by the median of a square around it."""
    return cv2.medianBlur(image, odd(image, size))


@family(
    "tilt_shift",
    kind=KIND,
    presets=presets("band", "top", "middle", "bottom"),
    band=Parameter("place of the sharp band", choices=tuple(BANDS)),
    instruction="blur all but a sharp band at the {band}",
)
def tilt_shift(image: np.ndarray, band: str) -> np.ndarray:
    """Blur all but a horizontal band."""
    centre = BANDS[band]
    away = np.clip((np.abs(unit(*image.shape[:2])[1] - centre) - 0.1) / 0.12, 0, 1)
    return blend(image, soften(image, 4.0), away)


@family(
    "soft_glow",
    kind=KIND,
    presets=presets("sigma", 2.0, 6.0),
    sigma=Parameter("standard deviation of the Gaussian", 0.5, 12, unit=PIXELS),
    instruction="add a soft bright glow of {sigma} of the short side",
    in_pixels="add a soft bright glow of {sigma:g} pixels",
)
def soft_glow(image: np.ndarray, sigma: float) -> np.ndarray:
    """Screen the picture with a blurred copy."""
    glow = soften(image, sigma)
    return 255 - cv2.multiply(255 - image, 255 - glow, scale=1 / 255)


@family(
    "double_exposure",
    kind=KIND,
    presets=presets("right down", (0.12, 0.0), (0.3, 0.0), (0.0, 0.12), (0.0, 0.3)),
    right=Parameter("how far to the right", 0, 1, unit="of the width"),
    down=Parameter("how far down", 0, 1, unit="of the height"),
    instruction="lay a copy moved right by {right} and down by {down} over the picture at half "
    "strength",
)
def double_exposure(image: np.ndarray, right: float, down: float) -> np.ndarray:
    """Blend the picture with a moved copy, half and half."""
    height, width = image.shape[:2]
    return cv2.addWeighted(
        image, 0.5, np.roll(image, (round(down * height), round(right * width)), (0, 1)), 0.5, 0
    )
