"""Procedural scenes: endless stand-ins for photographs, each a pure function of its seed."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from datagen.sources.scenes.backgrounds import BACKGROUNDS, BOUNDS
from datagen.sources.scenes.objects import leaves, letters, lines, portrait, things
from datagen.sources.scenes.paint import grid, noise, palette, ramp
from datagen.sources.source import Source

LICENCE = "CC0-1.0"
ATTRIBUTION = "procedural scene of lorweb-bench"


def scene(seed: int, height: int, width: int) -> np.ndarray:
    """Draw the scene of a seed: a background, things in front of it, then light, lens and film.

    It is drawn at twice the size and area-reduced. Another size gives the same kind of scene with
    other fine texture.

    Args:
        seed: A whole number from 0.
        height: In pixels, at least 8.
        width: In pixels, at least 8.

    Returns:
        uint8 height x width x 3 RGB.
    """
    random = np.random.default_rng((0x5CE7E, seed))
    h, w = 2 * height, 2 * width
    colours = palette(random)
    light = float(random.uniform(0, 2 * np.pi))
    canvas = BACKGROUNDS[int(np.searchsorted(BOUNDS, random.random()))](random, h, w, colours)
    if random.random() < 0.3:
        size = int(random.uniform(0.01, 0.05) * min(h, w)) * 2 + 1
        for plane in canvas:
            plane[:] = cv2.blur(cv2.blur(plane, (size, size)), (size, size))
    colours = palette(random) if random.random() < 0.4 else random.permutation(colours)
    if random.random() < 0.1:
        portrait(random, canvas, colours, light)
    else:
        things(random, canvas, colours, light)
    if random.random() < 0.3:
        lines(random, canvas, colours)
    if random.random() < 0.15:
        letters(random, canvas, colours)
    if random.random() < 0.2:
        leaves(random, canvas, colours)
    return _photographed(random, canvas, height, width)


def _photographed(
    random: np.random.Generator, canvas: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Add light, lens and film, and reduce to uint8.

    Uneven light, a vignette, a colour cast, a tone curve and grain.
    """
    image = np.stack(
        [cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in canvas]
    )
    gain = np.full((height, width), random.uniform(0.85, 1.1), np.float32)
    if random.random() < 0.5:
        strength = np.float32(random.uniform(0.1, 0.8))
        gain *= (np.float32(1) - strength / 2) + strength * ramp(random, height, width)
    if random.random() < 0.3:
        gain *= np.float32(0.7) + np.float32(0.6) * noise(random, height, width, (3, 4, 7), 0.15)
    if random.random() < 0.4:
        y, x = grid(height, width)
        gain *= np.float32(1) - np.float32(random.uniform(0.1, 0.6)) * np.clip(x * x + y * y, 0, 1)
    image *= gain
    image *= random.uniform(0.93, 1.07, (3, 1, 1)).astype(np.float32)
    if random.random() < 0.7:  # exposure: most photographs use the range that there is
        mean, deviation = float(image.mean()), float(image.std())
        factor = np.float32(min(max(random.uniform(0.14, 0.30) / (deviation + 0.01), 0.8), 1.8))
        image -= np.float32(mean)
        image *= factor
        image += np.float32(mean + random.uniform(0, 0.6) * (0.45 - mean))
    np.clip(image, 0, 1, out=image)
    if random.random() < 0.7:
        bend = np.float32(
            random.uniform(-0.55, 0.75)
        )  # a quadratic through (0, 0) and (1, 1): darker or lighter middle tones
        image += bend * image * (np.float32(1) - image)
    if random.random() < 0.5:
        image += random.standard_normal((height, width), np.float32) * np.float32(
            random.uniform(0.002, 0.025)
        )
    image *= np.float32(255)
    np.clip(np.rint(image, out=image), 0, 255, out=image)
    return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0))


@dataclass(frozen=True)
class SceneImage:
    """Renders the scene of `seed` at height x width when called."""

    seed: int
    height: int
    width: int

    def __call__(self) -> np.ndarray:
        return scene(self.seed, self.height, self.width)


def scenes(seeds: Iterable[int], height: int, width: int) -> list[Source]:
    """A source for each seed, named `scene-000123`, rendered in height x width when loaded."""
    return [
        Source(f"scene-{seed:06d}", LICENCE, ATTRIBUTION, SceneImage(seed, height, width))
        for seed in seeds
    ]
