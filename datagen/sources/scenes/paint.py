"""The paint of procedural scenes: palettes, noise, materials, and layers laid over a canvas.

Canvases are float32 3 x H x W RGB about [0, 1], planar because arithmetic on long rows is several
times faster. Every random draw comes from the generator that the caller passes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

BANK = 256  # side of a noise tile in texels; tiles wrap around


# (slope of the amplitude spectrum, stretch along one direction, ridged) of each kind of noise, from
# fine to smooth.
NOISES = (
    *((0.6, 1, False), (1.0, 1, False), (1.4, 1, False), (1.8, 1, False), (2.4, 1, False)),
    *((1.0, 6, False), (1.5, 4, False), (2.0, 8, False), (1.2, 14, False)),
    *((1.8, 1, True), (2.2, 1, True), (1.8, 4, True)),
)


@lru_cache(maxsize=1)
def noise_bank() -> tuple[tuple[np.ndarray, ...], ...]:
    """For each kind of noise its tiles in four directions, float32 in [0, 1].

    They are seamless, and repeated twice in both directions.
    """
    random = np.random.default_rng(20240607)
    fy, fx = np.meshgrid(np.fft.fftfreq(BANK), np.fft.rfftfreq(BANK), indexing="ij")
    kinds = []
    for slope, stretch, ridged in NOISES:
        tiles = []
        for turn in (0.2, 0.9, 1.7, 2.5):
            along, across = (
                fx * np.cos(turn) + fy * np.sin(turn),
                fy * np.cos(turn) - fx * np.sin(turn),
            )
            radius = np.maximum(np.hypot(along * stretch, across), 1.5 / BANK)
            amplitude = np.exp(2j * np.pi * random.random(radius.shape)) / radius**slope
            amplitude[0, 0] = 0
            tile = np.fft.irfft2(amplitude, s=(BANK, BANK))
            tile /= tile.std()
            tile = 1.0 - np.abs(tile) * 0.8 if ridged else 0.5 + tile / 4.5
            tiles.append(np.tile(np.clip(tile, 0, 1).astype(np.float32), (2, 2)))
        kinds.append(tuple(tiles))
    return tuple(kinds)


def noise(
    random: np.random.Generator,
    height: int,
    width: int,
    kinds: tuple[int, ...] = (),
    scale: float | None = None,
) -> np.ndarray:
    """A window of a noise tile at a random place, stretched a little.

    Args:
        random: Chooses the tile and the place.
        height: In pixels.
        width: In pixels.
        kinds: The entries of NOISES to choose from; all when empty.
        scale: The share of a tile that the short side spans; random when None.

    Returns:
        height x width float32 in [0, 1].
    """
    kind = pick(random, kinds) if kinds else int(random.integers(len(NOISES)))
    tile = noise_bank()[kind][int(random.integers(4))]
    draws = random.random(4)
    step = (scale if scale is not None else 0.2 + 0.5 * draws[0]) * BANK / min(height, width)
    rows = max(2, min(BANK, int(height * step * (0.7 + 0.6 * draws[1]))))
    columns = max(2, min(BANK, int(width * step)))
    y, x = int(draws[2] * BANK), int(draws[3] * BANK)
    return cv2.resize(
        tile[y : y + rows, x : x + columns], (width, height), interpolation=cv2.INTER_LINEAR
    )


def rgb(
    hue: float | np.ndarray, saturation: float | np.ndarray, value: float | np.ndarray
) -> np.ndarray:
    """The RGB colours of hues, saturations and values.

    Args:
        hue: In turns; any number.
        saturation: In [0, 1].
        value: In [0, 1].

    Returns:
        ... x 3 float32 in [0, 1].
    """
    k = (np.array([5.0, 3.0, 1.0]) + np.asarray(hue)[..., None] * 6.0) % 6.0
    light, chroma = np.asarray(value)[..., None], np.asarray(saturation)[..., None]
    return (light - light * chroma * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)).astype(np.float32)


# (chance, hue spread in turns, saturation range, value range): most of the world is muted.
MOODS = (
    (0.22, 0.08, (0.05, 0.40), (0.15, 0.95)),
    (0.20, 0.15, (0.15, 0.60), (0.15, 0.95)),
    (0.16, 0.30, (0.25, 0.75), (0.20, 1.00)),
    (0.10, 1.00, (0.55, 1.00), (0.40, 1.00)),
    (0.07, 1.00, (0.10, 0.45), (0.65, 1.00)),
    (0.09, 0.40, (0.30, 0.90), (0.03, 0.50)),
    (0.04, 0.05, (0.00, 0.10), (0.03, 1.00)),
    (0.12, 1.00, (0.10, 0.90), (0.08, 1.00)),
)
MOOD_BOUNDS = np.cumsum([mood[0] for mood in MOODS[:-1]])
# Hues (in turns) that photographs are full of: skin, wood, earth and sunlight; foliage; sky, water.
COMMON_HUES = ((0.07, 0.03), (0.10, 0.04), (0.27, 0.06), (0.57, 0.04))


def pick(random: np.random.Generator, items: Any) -> Any:
    """One of a sequence's items: a row of a palette, an outline."""
    return items[int(random.integers(len(items)))]


def palette(random: np.random.Generator, count: int = 8) -> np.ndarray:
    """`count` x 3 colours of one mood around one or two hues, so that a scene holds together."""
    _, spread, saturations, values = MOODS[int(np.searchsorted(MOOD_BOUNDS, random.random()))]
    if random.random() < 0.65:
        centre, deviation = COMMON_HUES[int(random.integers(len(COMMON_HUES)))]
        base = random.normal(centre, deviation)
    else:
        base = random.random()
    second = base + (0.5, 0.33, 0.42, 0.08)[int(random.integers(4))]
    draws = random.random((count, 3))
    hues = np.where(np.arange(count) % 3 > 0, base, second) + (draws[:, 0] - 0.5) * spread
    saturation = saturations[0] + draws[:, 1] * (saturations[1] - saturations[0])
    value = values[0] + draws[:, 2] * (values[1] - values[0])
    return rgb(hues, saturation, value)


@lru_cache(maxsize=64)
def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates y (height x 1) and x (1 x width), float32.

    The short side is one unit long, and (0, 0) is the centre.
    """
    unit = min(height, width)
    y = (np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2) / unit
    x = (np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2) / unit
    y.setflags(write=False)
    x.setflags(write=False)
    return y, x


def ramp(
    random: np.random.Generator, height: int, width: int, angle: float | None = None
) -> np.ndarray:
    """A linear ramp over the area, height x width float32 in [0, 1].

    Its angle is random or given, in radians; pi/2 is downwards.
    """
    turn = random.uniform(0, 2 * np.pi) if angle is None else angle
    y, x = grid(height, width)
    return np.clip(
        x * np.float32(np.cos(turn) / 1.2) + (y * np.float32(np.sin(turn) / 1.2) + np.float32(0.5)),
        0,
        1,
    )


def tint(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """From the colour `a` where the share is 0 to `b` where it is 1; 3 x height x width."""
    return a[:, None, None] + share * (b - a)[:, None, None]


def cover(canvas: np.ndarray, layer: np.ndarray, alpha: np.ndarray) -> None:
    """Lay a layer over the canvas in place, as opaque as alpha says.

    The layer is 3 x height x width, or a colour as 3 x 1 x 1.
    """
    canvas += alpha * (layer - canvas)


def contrast(field: np.ndarray, factor: float, middle: float = 0.5) -> np.ndarray:
    """Stretch a field by `factor` around `middle`, which becomes 0.5; clipped to [0, 1]."""
    return np.clip(field * np.float32(factor) + np.float32(0.5 - middle * factor), 0, 1)


def _plain(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    return ramp(random, height, width) * np.float32(random.uniform(0.1, 0.6))


def _noisy(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    return contrast(noise(random, height, width), random.uniform(0.4, 1.6))


def _striped(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = grid(height, width)
    angle, turns = random.uniform(0, np.pi), 2 * np.pi * random.uniform(3, 14)
    wave = np.sin(x * np.float32(np.cos(angle) * turns) + y * np.float32(np.sin(angle) * turns))
    return contrast(wave, (0.4, 1.5, 6.0)[int(random.integers(3))], random.uniform(-0.2, 0.2))


def _checked(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = grid(height, width)
    angle, count = random.uniform(0, np.pi), random.uniform(3, 9)
    c, s = np.float32(np.cos(angle) * count), np.float32(np.sin(angle) * count)
    return (np.floor(x * c + y * s) + np.floor(y * c - x * s + np.float32(0.5))) % 2


def _bricks(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = grid(height, width)
    rows, ratio, joint = random.uniform(6, 14), random.uniform(1.4, 3.2), random.uniform(0.08, 0.2)
    v = y * np.float32(rows) + np.float32(50)
    row = np.floor(v)
    u = x * np.float32(rows / ratio) + row * np.float32(0.5) + np.float32(50)
    column = np.floor(u)
    shade = random.uniform(0.0, 0.45, 101).astype(np.float32)[
        ((row * 17 + column * 31) % 101).astype(np.int32)
    ]
    gap = ((v - row) < joint) | ((u - column) < joint / ratio)
    return np.where(
        gap, np.float32(1), shade + np.float32(0.3) * noise(random, height, width, (1, 2))
    )


def _dotted(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = grid(height, width)
    count = random.uniform(4, 10)
    v = y * np.float32(count)
    u = x * np.float32(count) + np.float32(0.5) * (np.floor(v) % 2)
    u, v = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
    return contrast(-(u * u + v * v), 20, -random.uniform(0.05, 0.14))


# Each gives the share of the second colour, height x width float32 in [0, 1].
Material = Callable[[np.random.Generator, int, int], np.ndarray]
MATERIALS: tuple[Material, ...] = (_plain, _noisy, _striped, _checked, _bricks, _dotted)
MATERIAL_BOUNDS = np.cumsum((0.40, 0.36, 0.11, 0.03, 0.05))


def material(
    random: np.random.Generator, height: int, width: int, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """A layer, 3 x height x width, of a random material in two colours."""
    kind = MATERIALS[int(np.searchsorted(MATERIAL_BOUNDS, random.random()))]
    return tint(first, second, kind(random, height, width))
