"""Procedural scenes: endless stand-ins for photographs, each a pure function of its seed."""

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.sources import Source
from datagen.sources.scene_backgrounds import BACKGROUNDS, CHANCES
from datagen.sources.scene_paint import grid, material, noise, palette, ramp
from datagen.sources.scene_shapes import LEAF, LOOSE, UPRIGHT, place

LICENCE = "CC0-1.0"
ATTRIBUTION = "procedural scene of lorweb-bench"
# Strokes through the points of a 3 x 3 grid (0 top left, 8 bottom right): A C E F G H I K L M N P R S T V X Y Z 2 4 7 and signs of no alphabet.
LETTERS = (
    *("618,35", "20068", "20068,34", "2006,34", "200685,54", "06,28,35", "17", "06,234,48", "068", "60428", "6082", "602534", "60253,48"),
    *("203586", "02,17", "072", "08,26", "04,27", "0268", "025368", "035,28", "026", "0286,17", "1357", "02680,48"),
)


def scene(seed: int, height: int, width: int) -> np.ndarray:
    """The scene of a seed: uint8 height x width x 3 RGB, both sides at least 8 pixels.

    A background, things in front of it, then light, lens and film; drawn at twice the size and area-reduced. Another size gives
    the same composition with other fine texture.
    """
    random = np.random.default_rng((0x5CE7E, seed))
    h, w = 2 * height, 2 * width
    colours = palette(random)
    light = float(random.uniform(0, 2 * np.pi))
    canvas = BACKGROUNDS[int(random.choice(len(BACKGROUNDS), p=CHANCES))](random, h, w, colours)
    if random.random() < 0.25:
        blur = int(random.uniform(0.01, 0.05) * min(h, w)) * 2 + 1
        canvas = cv2.GaussianBlur(canvas, (blur, blur), 0)
    colours = palette(random) if random.random() < 0.4 else random.permutation(colours)
    _things(random, canvas, colours, light)
    if random.random() < 0.35:
        _lines(random, canvas, colours)
    if random.random() < 0.15:
        _letters(random, canvas, colours)
    if random.random() < 0.2:
        _leaves(random, canvas, colours, light)
    return _photographed(random, canvas, height, width)


def _things(random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray, light: float) -> None:
    """Draws one large subject, a few things, or many small ones."""
    h, w = canvas.shape[:2]
    unit = min(h, w)
    style = random.random()
    if style < 0.35:
        count, sizes = int(random.integers(1, 3)), (0.5, 1.0)
    elif style < 0.8:
        count, sizes = int(random.integers(2, 7)), (0.15, 0.6)
    else:
        count, sizes = int(random.integers(8, 20)), (0.06, 0.25)
    same = LOOSE[int(random.integers(len(LOOSE)))] if random.random() < 0.25 else None
    floor = random.uniform(0.55, 0.95)
    for _ in range(count):
        upright = same is None and random.random() < 0.5
        size = random.uniform(*sizes) * unit
        kind = same or (UPRIGHT[int(random.integers(len(UPRIGHT)))] if upright else LOOSE[int(random.integers(len(LOOSE)))])
        centre = (
            random.uniform(0.05, 0.95) * w,
            (floor + random.uniform(-0.1, 0.1)) * h - size / 2 if upright else random.uniform(0.05, 0.95) * h,
        )
        angle = random.normal(0, 0.08) if upright else random.uniform(0, 2 * np.pi)
        draw(random, canvas, place(kind(random), centre, size, angle, random.random() < 0.5), colours, light)


def draw(random: np.random.Generator, canvas: np.ndarray, outline: np.ndarray, colours: np.ndarray, light: float) -> None:
    """Fills an outline (N x 2 pixels) with a shaded material, in place, with a shadow more often than not."""
    h, w = canvas.shape[:2]
    reach = int(random.uniform(0.01, 0.05) * min(h, w)) + 1
    x0, y0 = np.maximum(np.floor(outline.min(0)).astype(int) - 2 * reach, 0)
    x1, y1 = np.minimum(np.ceil(outline.max(0)).astype(int) + 2 * reach, (w, h))
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [np.round((outline - (x0, y0)) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    alpha = mask.astype(np.float32) / 255
    area = canvas[y0:y1, x0:x1]
    if random.random() < 0.6:
        shift = np.array([[1, 0, -np.cos(light) * reach], [0, 1, -np.sin(light) * reach]])
        shadow = cv2.blur(cv2.warpAffine(alpha, shift, (x1 - x0, y1 - y0)), (reach, reach))
        area *= (1 - random.uniform(0.3, 0.7) * shadow)[..., None]
    a, b = colours[random.choice(len(colours), 2, replace=False)]
    layer = material(random, y1 - y0, x1 - x0, a, b)
    strength = random.uniform(0.0, 0.9)
    shade = 1 + strength * (ramp(random, y1 - y0, x1 - x0, light) - 0.5)
    if random.random() < 0.4:
        depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        shade = shade * (0.55 + 0.55 * np.sqrt(depth / max(float(depth.max()), 1.0)))
    area += alpha[..., None] * (layer * shade[..., None] - area)


def _lines(random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray) -> None:
    """Draws branches, wires or a fence: curves that share a colour."""
    h, w = canvas.shape[:2]
    unit = min(h, w)
    colour = tuple(float(c) for c in colours[0] * random.uniform(0.1, 1.0))
    fence = random.random() < 0.3
    gap, lean, start = random.uniform(0.06, 0.2), random.normal(0, 0.1), random.random()
    for index in range(int(random.integers(2, 9))):
        thickness = max(1, int(random.uniform(0.008, 0.035) * unit))
        if fence:
            x = (start + index * gap) % 1.0 * w
            points = np.array([(x, random.uniform(0.3, 0.5) * h), (x + lean * h, h)])
        else:
            ends = random.uniform(-0.1, 1.1, (3, 2)) * (w, h)
            t = np.linspace(0, 1, 14)[:, None]
            points = ends[0] * (1 - t) ** 2 + 2 * ends[1] * t * (1 - t) + ends[2] * t**2
        cv2.polylines(canvas, [np.round(points * 16).astype(np.int32)], False, colour, thickness, cv2.LINE_AA, 4)


def _letters(random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray) -> None:
    """Writes a few letters and digits in strokes, as signs and labels do."""
    h, w = canvas.shape[:2]
    size = random.uniform(0.05, 0.3) * min(h, w)
    x, y = random.uniform(0.0, 0.6) * w, random.uniform(0.0, 0.9) * h
    slant, wide, thickness = random.normal(0, 0.2), random.uniform(0.5, 0.9), max(1, int(size * random.uniform(0.08, 0.25)))
    colour = tuple(float(c) for c in (colours[1] if random.random() < 0.6 else np.full(3, random.choice((0.03, 0.97)))))
    for letter in random.choice(len(LETTERS), int(random.integers(1, 6))):
        for stroke in LETTERS[letter].split(","):
            points = np.array([(int(c) % 3 * wide / 2, int(c) // 3 / 2) for c in stroke]) * size
            points[:, 0] -= slant * (points[:, 1] - size)
            cv2.polylines(canvas, [np.round((points + (x, y)) * 16).astype(np.int32)], False, colour, thickness, cv2.LINE_AA, 4)
        x += size * (wide + 0.3)


def _leaves(random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray, light: float) -> None:
    """Draws a spray of leaves or petals from one point, as plants at the edge of a picture do."""
    h, w = canvas.shape[:2]
    root = random.uniform(-0.1, 1.1, 2) * (w, h)
    spread, facing = random.uniform(1.0, 6.3), random.uniform(0, 2 * np.pi)
    two = colours[random.choice(len(colours), 2, replace=False)]
    for _ in range(int(random.integers(6, 15))):
        size, angle = random.uniform(0.15, 0.45) * min(h, w), facing + random.uniform(-0.5, 0.5) * spread
        centre = root + np.array([np.cos(angle), np.sin(angle)]) * size * random.uniform(0.5, 1.2)
        outline = place(LEAF(random), (float(centre[0]), float(centre[1])), size, angle, False)
        tint = tuple(float(c) for c in (two[0] + random.random() * (two[1] - two[0])) * random.uniform(0.6, 1.2))
        cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32)], tint, cv2.LINE_AA, 4)


def _photographed(random: np.random.Generator, canvas: np.ndarray, height: int, width: int) -> np.ndarray:
    """Light, lens and film: uneven light, a vignette, a tone curve, a colour cast and grain, reduced to uint8."""
    image = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    gain = np.ones((height, width), np.float32)
    if random.random() < 0.5:
        gain *= 1 + random.uniform(0.1, 0.7) * (ramp(random, height, width) - 0.5)
    if random.random() < 0.3:
        gain *= 0.75 + 0.5 * noise(random, height, width, (3, 4, 7), 0.15)
    if random.random() < 0.4:
        y, x = grid(height, width)
        gain *= 1 - random.uniform(0.1, 0.6) * (x * x + y * y)
    image *= gain[..., None] * random.uniform(0.94, 1.06, 3).astype(np.float32)
    np.clip(image, 0, 1, out=image)
    if random.random() < 0.5:
        image **= np.float32(random.uniform(0.65, 1.5))
    if random.random() < 0.4:
        image += (0.5 - np.abs(image - 0.5)) * (image - 0.5) * np.float32(random.uniform(-0.5, 0.9))
    grain = random.uniform(0, 0.03)
    image += (grain * random.standard_normal((height, width), np.float32))[..., None]
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class SceneImage:
    """Renders the scene of `seed` at height x width when called."""

    seed: int
    height: int
    width: int

    def __call__(self) -> np.ndarray:
        return scene(self.seed, self.height, self.width)


def scenes(seeds: range, height: int, width: int) -> list[Source]:
    """A source for each seed, named `scene-000123`, rendered at height x width when loaded."""
    return [Source(f"scene-{seed:06d}", LICENCE, ATTRIBUTION, SceneImage(seed, height, width)) for seed in seeds]
