"""Kind tone: brightness, contrast, curves and levels."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import blend, centred, choose, colour, gray3, luma, to_uint8
from datagen.transformations.family import Family, presets

KIND = "tone"
LEVELS = np.arange(256, dtype=np.float32)


def _curve(image: np.ndarray, curve: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, to_uint8(curve))


def brightness(image: np.ndarray, offset: float) -> np.ndarray:
    return _curve(image, LEVELS + offset)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    return _curve(image, (LEVELS - 127.5) * factor + 127.5)


def gamma(image: np.ndarray, value: float) -> np.ndarray:
    return _curve(image, 255 * (LEVELS / 255) ** value)


def posterise(image: np.ndarray, levels: int) -> np.ndarray:
    return _curve(image, np.floor(LEVELS * levels / 256) * 255 / (levels - 1))


def solarise(image: np.ndarray, threshold: float) -> np.ndarray:
    return _curve(image, np.where(threshold > LEVELS, LEVELS, 255 - LEVELS))


def threshold(image: np.ndarray, level: float) -> np.ndarray:
    return gray3(cv2.threshold(luma(image), level - 1, 255, cv2.THRESH_BINARY)[1])


def equalise(image: np.ndarray) -> np.ndarray:
    return cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(image)])


def local_contrast(image: np.ndarray, clip: float) -> np.ndarray:
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip, (4, 4)).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def wave_curve(image: np.ndarray, waves: float) -> np.ndarray:
    return _curve(image, 127.5 - 127.5 * np.cos(LEVELS / 255 * 2 * np.pi * waves))


def fade(image: np.ndarray, towards: str, amount: float) -> np.ndarray:
    return blend(image, colour(towards), amount)


def vignette(image: np.ndarray, shade: str, strength: float) -> np.ndarray:
    x, y = centred(*image.shape[:2])
    weight = np.clip((np.hypot(x, y) - 0.3) / 0.9, 0, 1) * strength
    return blend(image, colour(shade), weight)


def clip_levels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    return _curve(image, (LEVELS - low) * 255 / (high - low))


def band_keep(image: np.ndarray, band: str) -> np.ndarray:
    low, high = choose(
        {"shadows": (0, 85), "midtones": (85, 170), "highlights": (170, 256)}, band, "band"
    )
    gray = luma(image)
    return image * ((gray >= low) & (gray < high))[..., None].astype(np.uint8)


def _brightness_words(offset: float) -> str:
    return f"{'brighten' if offset > 0 else 'darken'} the picture by {abs(offset):g} levels"


FAMILIES = (
    Family(
        "brightness",
        KIND,
        True,
        {"offset": "levels, -255 to 255"},
        presets("offset", -90, -60, -30, 30, 60, 90),
        brightness,
        _brightness_words,
    ),
    Family(
        "contrast",
        KIND,
        True,
        {"factor": "factor around mid gray, 0-4"},
        presets("factor", 0.2, 0.4, 0.6, 1.6, 2.2, 3.2),
        contrast,
        "multiply the contrast by {factor}".format,
    ),
    Family(
        "gamma",
        KIND,
        True,
        {"value": "exponent of the tone curve, 0.2-5"},
        presets("value", 0.3, 0.45, 0.6, 1.7, 2.4, 3.4),
        gamma,
        "apply a gamma of {value}".format,
    ),
    Family(
        "posterise",
        KIND,
        True,
        {"levels": "levels per channel, 2-8"},
        presets("levels", 2, 3, 4, 5),
        posterise,
        "posterise the picture to {levels} levels per channel".format,
    ),
    Family(
        "solarise",
        KIND,
        True,
        {"threshold": "level from which on values are inverted, 0-255"},
        presets("threshold", 40, 90, 140, 190),
        solarise,
        "solarise the picture above level {threshold}".format,
    ),
    Family(
        "threshold",
        KIND,
        True,
        {"level": "luma from which on a pixel is white, 1-255"},
        presets("level", 60, 90, 120, 150, 180),
        threshold,
        "turn the picture black and white at level {level}".format,
    ),
    Family(
        "equalise",
        KIND,
        True,
        {},
        presets(""),
        equalise,
        "equalise the histogram of each channel".format,
    ),
    Family(
        "local_contrast",
        KIND,
        True,
        {"clip": "clip limit of the local histograms, 1-20"},
        presets("clip", 2.0, 5.0, 12.0),
        local_contrast,
        "equalise the local contrast with clip limit {clip:g}".format,
    ),
    Family(
        "wave_curve",
        KIND,
        True,
        {"waves": "whole waves of the tone curve from black to white, 0.5-4"},
        presets("waves", 1.0, 1.5, 2.0, 3.0),
        wave_curve,
        "send the tones through a curve of {waves:g} waves".format,
    ),
    Family(
        "fade",
        KIND,
        True,
        {"towards": "a named colour", "amount": "share, 0-1"},
        presets("towards amount", ("white", 0.35), ("white", 0.6), ("black", 0.4), ("black", 0.65)),
        fade,
        "fade the picture towards {towards} by {amount}".format,
    ),
    Family(
        "vignette",
        KIND,
        True,
        {"shade": "a named colour", "strength": "share at the rim, 0-1"},
        presets("shade strength", ("black", 0.6), ("black", 1.0), ("white", 0.6), ("white", 1.0)),
        vignette,
        "add a {shade} vignette of strength {strength}".format,
    ),
    Family(
        "clip_levels",
        KIND,
        True,
        {
            "low": "level that becomes black, 0-254",
            "high": "level that becomes white, above low, to 255",
        },
        presets("low high", (60, 255), (120, 255), (0, 130), (0, 190)),
        clip_levels,
        "stretch the levels from {low} to {high} to the full range".format,
    ),
    Family(
        "band_keep",
        KIND,
        True,
        {"band": "shadows, midtones or highlights"},
        presets("band", "shadows", "midtones", "highlights"),
        band_keep,
        "keep only the {band} and blacken the rest".format,
    ),
)
