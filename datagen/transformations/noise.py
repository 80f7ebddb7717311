"""Kind noise: grain, compression and broken signals."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from datagen.transformations.arrays import grid, noise, over_channels, pixels, to_uint8
from datagen.transformations.declaration import PIXELS, REFERENCE, SEED, Parameter, family, presets

KIND = "noise"
FRESH_SEED = replace(SEED, meaning="seed of the random pattern; left out, a fresh one is drawn")


@family(
    "gaussian_noise",
    kind=KIND,
    presets=presets("sigma seed", (20, 1), (40, 1), (70, 1)),
    sigma=Parameter("standard deviation of the noise", 5, 120, unit="levels"),
    seed=SEED,
    instruction="add colour noise of {sigma} levels, pattern {seed}",
)
def gaussian_noise(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Add normal noise to each channel."""
    return to_uint8(image + noise(*image.shape[:2], 3, seed) * np.float32(sigma))


@family(
    "gray_grain",
    kind=KIND,
    presets=presets("sigma seed", (20, 2), (40, 2), (70, 2)),
    sigma=Parameter("standard deviation of the noise", 5, 120, unit="levels"),
    seed=SEED,
    instruction="add gray film grain of {sigma} levels, pattern {seed}",
)
def gray_grain(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Add normal noise that all channels share."""
    return to_uint8(image + noise(*image.shape[:2], 1, seed) * np.float32(sigma))


@family(
    "salt_and_pepper",
    kind=KIND,
    presets=presets("share seed", (0.05, 3), (0.15, 3), (0.3, 3), (0.5, 3)),
    share=Parameter("share of the pixels", 0, 1),
    seed=SEED,
    instruction="turn a share of {share} of the pixels black or white, pattern {seed}",
)
def salt_and_pepper(image: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Make some pixels black and as many white."""
    draw = over_channels(np.random.default_rng(seed).random(image.shape[:2], np.float32))
    return np.where(
        draw < share / 2, np.uint8(0), np.where(draw > 1 - share / 2, np.uint8(255), image)
    )


@family(
    "jpeg",
    kind=KIND,
    presets=presets("quality size", (2, 8), (8, 8), (2, 16), (8, 16)),
    quality=Parameter("JPEG quality", 1, 30, whole=True),
    size=Parameter("side of a block", 4, 32, unit=PIXELS),
    instruction="compress the picture to JPEG quality {quality} with blocks of {size} of "
    "the short side",
    in_pixels="compress the picture to JPEG quality {quality} with blocks of {size} pixels",
)
def jpeg(image: np.ndarray, quality: int, size: float) -> np.ndarray:
    """Compress a smaller copy as JPEG and enlarge it again."""
    height, width = image.shape[:2]
    zoom = 8 * 64 / (size * min(height, width))
    small = cv2.resize(
        image,
        (max(8, round(width * zoom)), max(8, round(height * zoom))),
        interpolation=cv2.INTER_AREA,
    )
    code = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )[1]
    decoded = cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return cv2.resize(decoded, (width, height), interpolation=cv2.INTER_NEAREST)


@family(
    "channel_shift",
    kind=KIND,
    presets=presets("degrees distance", (0, 2), (0, 4), (0, 8), (90, 4), (90, 8), (45, 6)),
    degrees=Parameter("direction, counterclockwise from the right", 0, 360, unit="degrees"),
    distance=Parameter("distance that red moves", 1, 20, unit=PIXELS),
    instruction="move the red channel by {distance} of the short side towards {degrees} "
    "degrees and the blue one the other way",
    in_pixels="move the red channel by {distance} pixels towards {degrees} degrees and the blue "
    "one the other way",
)
def channel_shift(image: np.ndarray, degrees: float, distance: float) -> np.ndarray:
    """Move red one way and blue the other."""
    reach = distance * min(image.shape[:2]) / REFERENCE
    right, down = (
        round(reach * np.cos(np.radians(degrees))),
        round(-reach * np.sin(np.radians(degrees))),
    )
    red, green, blue = cv2.split(image)
    return cv2.merge(
        [np.roll(red, (down, right), (0, 1)), green, np.roll(blue, (-down, -right), (0, 1))]
    )


@family(
    "glitch",
    kind=KIND,
    presets=presets("reach seed", (0.08, 4), (0.2, 4), (0.4, 4)),
    reach=Parameter("farthest shift", 0, 0.5, unit="of the width"),
    seed=SEED,
    instruction="shift horizontal bands sideways by up to {reach} of the width, pattern {seed}",
)
def glitch(image: np.ndarray, reach: float, seed: int) -> np.ndarray:
    """Shift 16 horizontal bands sideways, wrapping around."""
    height, width = image.shape[:2]
    bands = np.random.default_rng(seed).uniform(-reach, reach, 16)
    x, y = grid(height, width)
    shift = np.rint(bands[(y * 16 / height).astype(np.int64)] * width).astype(np.int64)
    return np.take_along_axis(image, ((x.astype(np.int64) + shift) % width)[..., None], 1)


@family(
    "scan_gaps",
    kind=KIND,
    presets=presets("period", 2, 4, 8),
    period=Parameter("height of a gap and the rows before it", 2, 16, unit=PIXELS),
    instruction="blacken every other band of rows with a period of {period} of the short side",
    in_pixels="blacken every other band of rows with a period of {period} pixels",
)
def scan_gaps(image: np.ndarray, period: float) -> np.ndarray:
    """Blacken every other band of rows."""
    wide = pixels(image, period, 2)
    rows = (np.arange(image.shape[0]) % wide) >= (wide + 1) // 2
    return np.where(rows[:, None, None], np.uint8(0), image)


@family(
    "lost_blocks",
    kind=KIND,
    presets=presets("share size seed", (0.15, 8, 5), (0.35, 8, 5), (0.15, 4, 5), (0.35, 4, 5)),
    share=Parameter("share of the blocks", 0, 1),
    size=Parameter("side of a block", 2, 16, unit=PIXELS),
    seed=SEED,
    instruction="blacken a share of {share} of the blocks of {size} of the short side, "
    "pattern {seed}",
    in_pixels="blacken a share of {share} of the {size} pixel blocks, pattern {seed}",
)
def lost_blocks(image: np.ndarray, share: float, size: float, seed: int) -> np.ndarray:
    """Blacken some of the square blocks."""
    height, width = image.shape[:2]
    block = pixels(image, size, 2)
    rows, columns = -(-height // block), -(-width // block)
    side = max(64, rows, columns)  # of the pattern; a panorama may have more than 64 blocks
    draw = np.random.default_rng(seed).random((side, side))[:rows, :columns]
    lost = np.repeat(np.repeat(draw < share, block, 0), block, 1)[:height, :width]
    return np.where(over_channels(lost), np.uint8(0), image)


def _fresh_noise_words(sigma: float, seed: int | None = None) -> str:
    return f"add fresh colour noise of {sigma:g} levels"


@family(
    "fresh_noise",
    kind=KIND,
    deterministic=False,
    presets=presets("sigma", 25, 50, 80),
    sigma=Parameter("standard deviation of the noise", 5, 120, unit="levels"),
    seed=FRESH_SEED,
    instruction=_fresh_noise_words,
)
def fresh_noise(image: np.ndarray, sigma: float, seed: int | None = None) -> np.ndarray:
    """Add normal noise that is drawn anew at each call, unless a seed is given."""
    field = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return to_uint8(image + field * np.float32(sigma))


def _fresh_speckles_words(share: float, seed: int | None = None) -> str:
    return f"replace a random {share:.0%} of the pixels by random colours"


@family(
    "fresh_speckles",
    kind=KIND,
    deterministic=False,
    presets=presets("share", 0.1, 0.3),
    share=Parameter("share of the pixels", 0, 1),
    seed=FRESH_SEED,
    instruction=_fresh_speckles_words,
)
def fresh_speckles(image: np.ndarray, share: float, seed: int | None = None) -> np.ndarray:
    """Replace some pixels by random colours, anew at each call, unless a seed is given."""
    draw = np.random.default_rng(seed)
    hit = draw.random(image.shape[:2])[..., None] < share
    return np.where(hit, draw.integers(0, 256, image.shape, np.uint8), image)
