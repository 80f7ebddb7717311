"""Kind noise: grain, compression and broken signals."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import grid, noise, pixels, to_uint8
from datagen.transformations.family import Family, presets

KIND = "noise"


def gaussian_noise(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    return to_uint8(image + noise(*image.shape[:2], 3, seed) * np.float32(sigma))


def gray_grain(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    return to_uint8(image + noise(*image.shape[:2], 1, seed) * np.float32(sigma))


def salt_and_pepper(image: np.ndarray, share: float, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed).random(image.shape[:2], np.float32)[..., None]
    return np.where(
        draw < share / 2, np.uint8(0), np.where(draw > 1 - share / 2, np.uint8(255), image)
    )


def jpeg(image: np.ndarray, quality: int, size: float) -> np.ndarray:
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


def channel_shift(image: np.ndarray, degrees: float, distance: float) -> np.ndarray:
    reach = distance * min(image.shape[:2]) / 64
    right, down = (
        round(reach * np.cos(np.radians(degrees))),
        round(-reach * np.sin(np.radians(degrees))),
    )
    red, green, blue = cv2.split(image)
    return cv2.merge(
        [np.roll(red, (down, right), (0, 1)), green, np.roll(blue, (-down, -right), (0, 1))]
    )


def glitch(image: np.ndarray, reach: float, seed: int) -> np.ndarray:
    height, width = image.shape[:2]
    bands = np.random.default_rng(seed).uniform(-reach, reach, 16)
    x, y = grid(height, width)
    shift = np.rint(bands[(y * 16 / height).astype(np.int64)] * width).astype(np.int64)
    return np.take_along_axis(image, ((x.astype(np.int64) + shift) % width)[..., None], 1)


def scan_gaps(image: np.ndarray, period: float) -> np.ndarray:
    wide = pixels(image, period, 2)
    rows = (np.arange(image.shape[0]) % wide) >= (wide + 1) // 2
    return np.where(rows[:, None, None], np.uint8(0), image)


def lost_blocks(image: np.ndarray, share: float, size: float, seed: int) -> np.ndarray:
    height, width = image.shape[:2]
    block = pixels(image, size, 2)
    draw = np.random.default_rng(seed).random((64, 64))[: -(-height // block), : -(-width // block)]
    lost = np.repeat(np.repeat(draw < share, block, 0), block, 1)[:height, :width]
    return np.where(lost[..., None], np.uint8(0), image)


def fresh_noise(image: np.ndarray, sigma: float, seed: int | None = None) -> np.ndarray:
    field = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return to_uint8(image + field * np.float32(sigma))


def fresh_speckles(image: np.ndarray, share: float, seed: int | None = None) -> np.ndarray:
    draw = np.random.default_rng(seed)
    hit = draw.random(image.shape[:2])[..., None] < share
    return np.where(hit, draw.integers(0, 256, image.shape, np.uint8), image)


def _fresh_noise_words(sigma: float, seed: int | None = None) -> str:
    return f"add fresh colour noise of {sigma:g} levels"


def _fresh_speckles_words(share: float, seed: int | None = None) -> str:
    return f"replace a random {share:.0%} of the pixels by random colours"


SEED = {"seed": "integer, fixes the pattern"}
FRESH = {"seed": "integer; left out, a fresh one is drawn"}
FAMILIES = (
    Family(
        "gaussian_noise",
        KIND,
        True,
        {"sigma": "levels, 5-120", **SEED},
        presets("sigma seed", (20, 1), (40, 1), (70, 1)),
        gaussian_noise,
        "add colour noise of {sigma} levels, pattern {seed}".format,
    ),
    Family(
        "gray_grain",
        KIND,
        True,
        {"sigma": "levels, 5-120", **SEED},
        presets("sigma seed", (20, 2), (40, 2), (70, 2)),
        gray_grain,
        "add gray film grain of {sigma} levels, pattern {seed}".format,
    ),
    Family(
        "salt_and_pepper",
        KIND,
        True,
        {"share": "share of the pixels, 0-1", **SEED},
        presets("share seed", (0.05, 3), (0.15, 3), (0.3, 3), (0.5, 3)),
        salt_and_pepper,
        "turn a share of {share} of the pixels black or white, pattern {seed}".format,
    ),
    Family(
        "jpeg",
        KIND,
        True,
        {"quality": "JPEG quality, 1-30", "size": "pixels of a block at 64 px, 4-32"},
        presets("quality size", (2, 8), (8, 8), (2, 16), (8, 16)),
        jpeg,
        "compress the picture to JPEG quality {quality} with blocks of {size} pixels".format,
    ),
    Family(
        "channel_shift",
        KIND,
        True,
        {
            "degrees": "direction, 0-360, counterclockwise from the right",
            "distance": "pixels at 64 px, 1-20",
        },
        presets("degrees distance", (0, 2), (0, 4), (0, 8), (90, 4), (90, 8), (45, 6)),
        channel_shift,
        "move the red channel by {distance} pixels towards {degrees} degrees and the blue one the other way".format,
    ),
    Family(
        "glitch",
        KIND,
        True,
        {"reach": "share of the width, 0-0.5", **SEED},
        presets("reach seed", (0.08, 4), (0.2, 4), (0.4, 4)),
        glitch,
        "shift horizontal bands sideways by up to {reach} of the width, pattern {seed}".format,
    ),
    Family(
        "scan_gaps",
        KIND,
        True,
        {"period": "pixels at 64 px, 2-16"},
        presets("period", 2, 4, 8),
        scan_gaps,
        "blacken every other band of rows with a period of {period} pixels".format,
    ),
    Family(
        "lost_blocks",
        KIND,
        True,
        {"share": "share of the blocks, 0-1", "size": "pixels at 64 px, 2-16", **SEED},
        presets("share size seed", (0.15, 8, 5), (0.35, 8, 5), (0.15, 4, 5), (0.35, 4, 5)),
        lost_blocks,
        "blacken a share of {share} of the {size} pixel blocks, pattern {seed}".format,
    ),
    Family(
        "fresh_noise",
        KIND,
        False,
        {"sigma": "levels, 5-120", **FRESH},
        presets("sigma", 25, 50, 80),
        fresh_noise,
        _fresh_noise_words,
    ),
    Family(
        "fresh_speckles",
        KIND,
        False,
        {"share": "share of the pixels, 0-1", **FRESH},
        presets("share", 0.1, 0.3),
        fresh_speckles,
        _fresh_speckles_words,
    ),
)
