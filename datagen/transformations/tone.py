"""Kind tone: brightness, contrast, curves and levels."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    COLOURS,
    NAMED_COLOUR,
    blend,
    centred,
    gray3,
    luma,
    over_channels,
    to_uint8,
)
from datagen.transformations.declaration import Below, Parameter, family, presets

KIND = "tone"
LEVELS = np.arange(256, dtype=np.float32)
BANDS = {"shadows": (0, 85), "midtones": (85, 170), "highlights": (170, 256)}  # luma


def _curve(image: np.ndarray, curve: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, to_uint8(curve))


def _brightness_words(offset: float) -> str:
    return f"{'brighten' if offset > 0 else 'darken'} the picture by {abs(offset):g} levels"


@family(
    "brightness",
    kind=KIND,
    presets=presets("offset", -90, -60, -30, 30, 60, 90),
    offset=Parameter("change of brightness", -255, 255, unit="levels"),
    instruction=_brightness_words,
)
def brightness(image: np.ndarray, offset: float) -> np.ndarray:
    """Add an offset to every level."""
    return _curve(image, LEVELS + offset)


@family(
    "contrast",
    kind=KIND,
    presets=presets("factor", 0.2, 0.4, 0.6, 1.6, 2.2, 3.2),
    factor=Parameter("factor around mid gray", 0, 4),
    instruction="multiply the contrast by {factor}",
)
def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale the levels around mid gray."""
    return _curve(image, (LEVELS - 127.5) * factor + 127.5)


@family(
    "gamma",
    kind=KIND,
    presets=presets("value", 0.3, 0.45, 0.6, 1.7, 2.4, 3.4),
    value=Parameter("exponent of the tone curve", 0.2, 5),
    instruction="apply a gamma of {value}",
)
def gamma(image: np.ndarray, value: float) -> np.ndarray:
    """Raise the levels, as shares of white, to a power."""
    return _curve(image, 255 * (LEVELS / 255) ** value)


@family(
    "posterise",
    kind=KIND,
    presets=presets("levels", 2, 3, 4, 5),
    levels=Parameter("levels per channel", 2, 8, whole=True),
    instruction="posterise the picture to {levels} levels per channel",
)
def posterise(image: np.ndarray, levels: int) -> np.ndarray:
    """Round every channel to a few equally spaced levels."""
    return _curve(image, np.floor(LEVELS * levels / 256) * 255 / (levels - 1))


@family(
    "solarise",
    kind=KIND,
    presets=presets("threshold", 40, 90, 140, 190),
    threshold=Parameter("level from which on values are inverted", 0, 255),
    instruction="solarise the picture above level {threshold}",
)
def solarise(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert the levels from a threshold on."""
    return _curve(image, np.where(threshold > LEVELS, LEVELS, 255 - LEVELS))


@family(
    "threshold",
    kind=KIND,
    presets=presets("level", 60, 90, 120, 150, 180),
    level=Parameter("luma from which on a pixel is white", 1, 255),
    instruction="turn the picture black and white at level {level}",
)
def threshold(image: np.ndarray, level: float) -> np.ndarray:
    """Make each pixel black or white by its luma."""
    return gray3(cv2.threshold(luma(image), level - 1, 255, cv2.THRESH_BINARY)[1])


@family("equalise", kind=KIND, instruction="equalise the histogram of each channel")
def equalise(image: np.ndarray) -> np.ndarray:
    """Equalise the histogram of each channel."""
    return cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(image)])


@family(
    "local_contrast",
    kind=KIND,
    presets=presets("clip", 2.0, 5.0, 12.0),
    clip=Parameter("clip limit of the local histograms", 1, 20),
    instruction="equalise the local contrast with clip limit {clip:g}",
)
def local_contrast(image: np.ndarray, clip: float) -> np.ndarray:
    """Equalise the lightness within 4 x 4 fields, with limited contrast (CLAHE)."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip, (4, 4)).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


@family(
    "wave_curve",
    kind=KIND,
    presets=presets("waves", 1.0, 1.5, 2.0, 3.0),
    waves=Parameter("waves of the tone curve from black to white", 0.5, 4),
    instruction="send the tones through a curve of {waves:g} waves",
)
def wave_curve(image: np.ndarray, waves: float) -> np.ndarray:
    """Send the levels through a cosine curve."""
    return _curve(image, 127.5 - 127.5 * np.cos(LEVELS / 255 * 2 * np.pi * waves))


@family(
    "fade",
    kind=KIND,
    presets=presets(
        "towards amount", ("white", 0.35), ("white", 0.6), ("black", 0.4), ("black", 0.65)
    ),
    towards=NAMED_COLOUR,
    amount=Parameter("share of the colour", 0, 1),
    instruction="fade the picture towards {towards} by {amount}",
)
def fade(image: np.ndarray, towards: str, amount: float) -> np.ndarray:
    """Blend the picture with black or another colour."""
    return blend(image, COLOURS[towards], amount)


@family(
    "vignette",
    kind=KIND,
    presets=presets(
        "shade strength", ("black", 0.6), ("black", 1.0), ("white", 0.6), ("white", 1.0)
    ),
    shade=NAMED_COLOUR,
    strength=Parameter("share of the colour at the rim", 0, 1),
    instruction="add a {shade} vignette of strength {strength}",
)
def vignette(image: np.ndarray, shade: str, strength: float) -> np.ndarray:
    """Blend the rim with a colour, more so towards the corners."""
    x, y = centred(*image.shape[:2])
    weight = np.clip((np.hypot(x, y) - 0.3) / 0.9, 0, 1) * strength
    return blend(image, COLOURS[shade], weight)


@family(
    "clip_levels",
    kind=KIND,
    presets=presets("low high", (60, 255), (120, 255), (0, 130), (0, 190)),
    low=Parameter("level that becomes black", 0, 254),
    high=Parameter("level that becomes white", 1, 255),
    rules=[Below("low", "high")],
    instruction="stretch the levels from {low} to {high} to the full range",
)
def clip_levels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Stretch the levels between two limits over the full range."""
    return _curve(image, (LEVELS - low) * 255 / (high - low))


@family(
    "band_keep",
    kind=KIND,
    presets=presets("band", "shadows", "midtones", "highlights"),
    band=Parameter("tones that stay", choices=tuple(BANDS)),
    instruction="keep only the {band} and blacken the rest",
)
def band_keep(image: np.ndarray, band: str) -> np.ndarray:
    """Keep the pixels of one third of the tones and blacken the others."""
    low, high = BANDS[band]
    gray = luma(image)
    return image * over_channels((gray >= low) & (gray < high)).view(np.uint8)
