"""The paint of procedural scenes: palettes, noise, materials and the compositing of a masked layer onto a canvas.

Canvases are float32 H x W x 3 RGB in [0, 1]; every random draw comes from the generator that the caller passes.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

BANK = 256  # side of a noise tile in texels; tiles wrap around


@lru_cache(maxsize=1)
def noise_bank() -> tuple[np.ndarray, ...]:
    """Twelve seamless noise tiles, float32 in [0, 1]: spectra from almost white to smooth, isotropic and directed, some ridged."""
    random = np.random.default_rng(20240607)
    fy, fx = np.meshgrid(np.fft.fftfreq(BANK), np.fft.rfftfreq(BANK), indexing="ij")
    tiles = []
    for slope, stretch, ridged in (
        *((0.6, 1, False), (1.0, 1, False), (1.4, 1, False), (1.8, 1, False), (2.4, 1, False)),
        *((1.0, 6, False), (1.5, 4, False), (2.0, 8, False), (1.2, 14, False)),
        *((1.8, 1, True), (2.2, 1, True), (1.8, 4, True)),
    ):
        radius = np.hypot(fx * stretch, fy / stretch)
        radius[0, 0] = np.inf
        phase = np.exp(2j * np.pi * random.random(radius.shape))
        tile = np.fft.irfft2(phase / np.maximum(radius, 1.5 / BANK) ** slope, s=(BANK, BANK))
        tile = (tile - tile.mean()) / tile.std()
        tile = 1.0 - np.abs(tile) * 0.8 if ridged else 0.5 + tile / 4.5
        tiles.append(np.clip(tile, 0, 1).astype(np.float32))
    return tuple(tiles)


def noise(random: np.random.Generator, height: int, width: int, kinds: tuple[int, ...] = (), scale: float | None = None) -> np.ndarray:
    """A window, height x width float32 in [0, 1], of a noise tile under a random rotation, stretch and shift.

    `kinds` are the tiles to choose from (all when empty); `scale` is the share of a tile that the short side spans.
    """
    bank = noise_bank()
    tile = bank[int(random.choice(kinds)) if kinds else int(random.integers(len(bank)))]
    span = scale if scale is not None else float(random.uniform(0.2, 0.7))
    step = span * BANK / min(height, width)
    angle, stretch = random.uniform(0, 2 * np.pi), random.uniform(0.7, 1.4)
    c, s = np.cos(angle) * step, np.sin(angle) * step
    shift = random.uniform(0, BANK, 2)
    matrix = np.array([[c * stretch, -s, shift[0]], [s * stretch, c, shift[1]]])
    return cv2.warpAffine(tile, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP)


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """The RGB colour, three float32 in [0, 1], of a hue in turns, a saturation and a value in [0, 1]."""
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6.0) % 6.0
    return (value - value * saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)).astype(np.float32)


# (hue spread in turns, saturation range, value range): most of the world is muted, some of it is not.
MOODS = (
    (0.08, (0.05, 0.35), (0.25, 0.95)),
    (0.15, (0.15, 0.55), (0.20, 0.95)),
    (0.30, (0.25, 0.70), (0.25, 1.00)),
    (1.00, (0.55, 1.00), (0.45, 1.00)),
    (1.00, (0.10, 0.45), (0.70, 1.00)),
    (0.40, (0.30, 0.90), (0.05, 0.55)),
    (0.05, (0.00, 0.12), (0.05, 1.00)),
    (1.00, (0.20, 0.90), (0.10, 1.00)),
)


def palette(random: np.random.Generator, count: int = 8) -> np.ndarray:
    """`count` x 3 colours of one mood around one or two hues, so that a scene holds together."""
    spread, saturations, values = MOODS[int(random.choice(len(MOODS), p=(0.16, 0.2, 0.16, 0.12, 0.08, 0.1, 0.04, 0.14)))]
    base = random.random()
    second = base + random.choice((0.5, 0.33, 0.42, 0.08))
    colours = []
    for index in range(count):
        hue = (base if index % 3 else second) + random.uniform(-spread, spread) / 2
        colours.append(rgb(hue % 1.0, random.uniform(*saturations), random.uniform(*values)))
    return np.array(colours, np.float32)


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates y (height x 1) and x (1 x width), float32, the short side one unit long and (0, 0) the centre."""
    unit = min(height, width)
    y = (np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2) / unit
    x = (np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2) / unit
    return y, x


def ramp(random: np.random.Generator, height: int, width: int, angle: float | None = None) -> np.ndarray:
    """A linear ramp over the area, height x width float32 in [0, 1], at a random or given angle in radians (pi/2: downwards)."""
    turn = random.uniform(0, 2 * np.pi) if angle is None else angle
    y, x = grid(height, width)
    along = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    return np.clip(along / 1.2 + 0.5, 0, 1)


def mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Height x width x 3: from colour `first` where the share is 0 to `second` where it is 1."""
    return first + share[..., None] * (second - first)


def _plain(random: np.random.Generator, height: int, width: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return mix(a, a * 0.6 + b * 0.4, ramp(random, height, width))


def _noisy(random: np.random.Generator, height: int, width: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    share = noise(random, height, width)
    return mix(a, b, np.clip((share - 0.5) * random.uniform(0.6, 2.2) + 0.5, 0, 1))


def _striped(random: np.random.Generator, height: int, width: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y, x = grid(height, width)
    angle, count = random.uniform(0, np.pi), random.uniform(3, 16)
    wave = np.sin((x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))) * np.float32(2 * np.pi * count))
    sharp = random.choice((0.8, 3.0, 12.0))
    return mix(a, b, np.clip(wave * sharp * 0.5 + random.uniform(0.3, 0.7), 0, 1))


def _checked(random: np.random.Generator, height: int, width: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y, x = grid(height, width)
    angle, count = random.uniform(0, np.pi), random.uniform(3, 11)
    c, s = np.float32(np.cos(angle) * count), np.float32(np.sin(angle) * count)
    odd = (np.floor(x * c + y * s) + np.floor(y * c - x * s + random.random())) % 2
    return mix(a, b, odd.astype(np.float32))


def _bricks(random: np.random.Generator, height: int, width: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y, x = grid(height, width)
    rows, ratio, joint = random.uniform(6, 16), random.uniform(1.4, 3.2), random.uniform(0.06, 0.16)
    v = y * np.float32(rows) + np.float32(50)
    row = np.floor(v)
    u = x * np.float32(rows / ratio) + row * np.float32(0.5) + np.float32(50)
    shade = random.uniform(-0.16, 0.16, 101).astype(np.float32)[((row * 17 + np.floor(u) * 31) % 101).astype(np.int32)]
    gap = ((v - row) < joint) | ((u - np.floor(u)) < joint / ratio)
    wall = a + (shade + 0.25 * (noise(random, height, width, (0, 1, 2)) - 0.5))[..., None]
    wall[gap] = 0.6 * b + 0.2
    return wall


def _dotted(random: np.random.Generator, height: int, width: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y, x = grid(height, width)
    count = random.uniform(4, 12)
    u, v = x * np.float32(count), y * np.float32(count)
    u = u + np.float32(0.5) * (np.floor(v) % 2)
    distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    return mix(a, b, np.clip((random.uniform(0.2, 0.42) - distance) * 8 + 0.5, 0, 1))


Material = Callable[[np.random.Generator, int, int, np.ndarray, np.ndarray], np.ndarray]
MATERIALS: tuple[Material, ...] = (_plain, _noisy, _striped, _checked, _bricks, _dotted)
CHANCES = (0.34, 0.38, 0.12, 0.05, 0.05, 0.06)


def material(random: np.random.Generator, height: int, width: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A layer, height x width x 3, of a random material in two colours."""
    return MATERIALS[int(random.choice(len(MATERIALS), p=CHANCES))](random, height, width, first, second)
