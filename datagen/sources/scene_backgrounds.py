"""Backgrounds of procedural scenes: each function returns a new canvas, float32 height x width x 3 RGB about [0, 1]."""

import cv2
import numpy as np

from datagen.sources.scene_paint import grid, material, mix, noise, ramp, rgb


def _ridge(random: np.random.Generator, width: int, rough: float) -> np.ndarray:
    """A skyline: width float32 around 0, in shares of the height."""
    line = np.zeros(width, np.float32)
    for octave in range(5):
        knots = random.uniform(-1, 1, 3 + 2 ** (octave + 1))
        line += np.interp(np.linspace(0, 1, width), np.linspace(0, 1, len(knots)), knots).astype(np.float32) * rough * 0.55**octave
    return line


def _sky(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    if random.random() < 0.55:
        hue = random.normal(0.58, 0.04)
        top, low = (
            rgb(hue, random.uniform(0.3, 0.8), random.uniform(0.4, 0.95)),
            rgb(hue + random.normal(0, 0.1), random.uniform(0, 0.35), random.uniform(0.7, 1)),
        )
    else:
        top, low = colours[0], colours[1] * 0.5 + random.uniform(0.2, 0.5)
    sky = mix(top, low, np.clip(ramp(random, h, w, np.pi / 2 + random.normal(0, 0.1)) * 1.4, 0, 1))
    if random.random() < 0.7:
        clouds = np.clip((noise(random, h, w, (3, 4, 6, 7)) - random.uniform(0.4, 0.65)) * random.uniform(2, 6), 0, 0.9)
        sky = mix(sky, np.full(3, random.uniform(0.6, 1.0), np.float32), clouds)
    return sky


def _ground(random: np.random.Generator, h: int, w: int, horizon: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A textured plane in perspective below the horizon (a share of the height); rows above it hold no meaning."""
    y = (np.arange(h, dtype=np.float32)[:, None] / h - horizon).clip(0.02, 1)
    x = (np.arange(w, dtype=np.float32)[None, :] / w - np.float32(random.uniform(0.2, 0.8))) / (y + 0.05)
    near = 0.25 / y
    texture = noise(random, 256, 256, (0, 1, 2, 5, 6), random.uniform(0.4, 1.0))
    turn = random.uniform(20, 60)
    rows, columns = np.broadcast_to(near * turn, (h, w)), x * np.float32(turn)
    share = cv2.remap(
        texture, columns.astype(np.float32), np.ascontiguousarray(rows, np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return mix(a, b, np.clip((share - 0.5) * random.uniform(0.8, 2) + 0.5, 0, 1)) * (0.7 + 0.4 * y[..., None])


def landscape(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """Sky, hills that fade with distance, and a plane in perspective: earth, grass, water or sand."""
    canvas = _sky(random, h, w, colours)
    haze = canvas[h // 2, w // 2].copy()
    horizon = random.uniform(0.3, 0.75)
    rows = np.arange(h, dtype=np.float32)[:, None] / h
    hills = int(random.integers(0, 4))
    for index in range(hills):
        line = horizon - 0.05 * (hills - index) + _ridge(random, w, random.uniform(0.02, 0.14))
        colour = haze + (index + 1) / (hills + 1) * (colours[2 + index] * 0.8 - haze)
        texture = 0.75 + 0.5 * noise(random, h, w, (1, 2, 9, 11))
        canvas = mix(canvas, colour * texture[..., None], np.clip((rows - line) * h / 2, 0, 1))
    slope = np.linspace(-1, 1, w, dtype=np.float32) * np.float32(random.normal(0, 0.03))
    ground = _ground(random, h, w, horizon - 0.05, colours[5], colours[6])
    return mix(canvas, ground, np.clip((rows - horizon - slope) * h / 2, 0, 1))


def city(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """Facades with windows before a sky, lit from one side, on a street."""
    canvas = _sky(random, h, w, colours)
    unit, base = min(h, w), random.uniform(0.7, 1.0)
    x = -random.uniform(0, 0.2) * w
    while x < w:
        width, top = random.uniform(0.12, 0.45) * unit, random.uniform(0.05, 0.6) * h
        wall = colours[int(random.integers(len(colours)))] * random.uniform(0.5, 1.1)
        x0, x1, y0, y1 = max(int(x), 0), min(int(x + width), w), int(top), int(base * h)
        x += width * random.uniform(0.9, 1.2)
        if x1 <= x0 or y1 <= y0:
            continue
        canvas[y0:y1, x0:x1] = wall * (0.8 + 0.4 * noise(random, y1 - y0, x1 - x0, (1, 2, 8), 0.4))[..., None]
        columns, rows = random.uniform(0.05, 0.1) * unit, random.uniform(0.05, 0.12) * unit
        u, v = (np.arange(x0, x1) - x) / columns, (np.arange(y0, y1) - top) / rows
        windows = ((v % 1 > 0.3) & (v % 1 < 0.8))[:, None] & ((u % 1 > 0.25) & (u % 1 < random.uniform(0.6, 0.9)))[None, :]
        lit = random.random((64, 64))[np.floor(v).astype(int)[:, None] % 64, np.floor(u).astype(int)[None, :] % 64]
        glass = np.where((lit < random.uniform(0, 0.4))[..., None], colours[3] * 0.4 + 0.55, wall * 0.35)
        canvas[y0:y1, x0:x1][windows] = glass[windows]
        canvas[y0:y1, max(x1 - max(1, unit // 60), x0) : x1] *= 0.6
    street = int(base * h)
    if street < h - 2:
        canvas[street:] = _ground(random, h, w, base - 0.05, colours[5] * 0.6, colours[6] * 0.6)[street:]
    return canvas


def room(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """A wall above a table or floor, or the corner of two walls, each of its own material and light."""
    canvas = material(random, h, w, colours[0], colours[1]) * (0.6 + 0.6 * ramp(random, h, w))[..., None]
    edge, tilt = random.uniform(0.4, 0.8), random.normal(0, 0.06)
    if random.random() < 0.5:
        side = material(random, h, w, colours[2], colours[3]) * random.uniform(0.4, 0.9)
        columns = np.arange(w, dtype=np.float32)[None, :] / w
        canvas = mix(canvas, side, np.clip((columns - random.uniform(0.15, 0.85) + np.zeros((h, 1), np.float32)) * w / 2, 0, 1))
    floor = _ground(random, h, w, edge - 0.1, colours[4], colours[5])
    line = np.arange(h, dtype=np.float32)[:, None] / h - edge - np.linspace(-1, 1, w, dtype=np.float32) * np.float32(tilt)
    return mix(canvas, floor, np.clip(line * h / 2, 0, 1))


def surface(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """A close-up of one material with a second one showing through where noise says so."""
    canvas = material(random, h, w, colours[0], colours[1])
    if random.random() < 0.6:
        share = np.clip((noise(random, h, w) - random.uniform(0.4, 0.6)) * random.uniform(2, 12) + 0.5, 0, 1)
        canvas = mix(canvas, material(random, h, w, colours[2], colours[3]), share)
    relief = noise(random, h, w, (0, 1, 2, 5, 6, 8, 9))
    canvas *= (1 + random.uniform(0.2, 1.5) * (relief - 0.5))[..., None]
    return canvas


def weave(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """Noise in three colours at three scales, each channel of light on its own: foliage, stone, fur, cloud, rust."""
    kinds = tuple(int(k) for k in random.choice(12, 3, replace=False))
    canvas = mix(colours[0], colours[1], noise(random, h, w, kinds))
    canvas = mix(canvas, colours[2], np.clip(noise(random, h, w, kinds) * 3 - 1.5, 0, 1))
    return mix(canvas, colours[3] * 0.3, np.clip(noise(random, h, w, (0, 1, 2, 9, 10)) * 4 - 2.4, 0, 0.9))


def lights(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """Discs of light out of focus on a smooth ground, dark or bright."""
    unit = min(h, w)
    canvas = np.ascontiguousarray(
        mix(colours[0] * random.uniform(0.1, 1), colours[1] * random.uniform(0.1, 1), noise(random, h, w, (4, 7), 0.2))
    )
    for _ in range(int(random.integers(5, 30))):
        centre = (int(random.uniform(0, w) * 16), int(random.uniform(0, h) * 16))
        colour = colours[int(random.integers(len(colours)))] * random.uniform(0.5, 1.3)
        glow = canvas.copy() if random.random() < 0.3 else canvas
        cv2.circle(glow, centre, int(random.uniform(0.02, 0.14) * unit * 16), tuple(float(c) for c in colour), -1, cv2.LINE_AA, 4)
        if glow is not canvas:
            cv2.addWeighted(canvas, 0.5, glow, 0.5, 0, dst=canvas)
    size = int(random.uniform(0, 0.04) * unit) * 2 + 1
    return cv2.GaussianBlur(canvas, (size, size), 0)


def pieces(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """A plane broken into cells around random points: stones, scales, cracked earth, stained glass, fields from the air."""
    count = int(random.integers(8, 60))
    y, x = grid(h, w)
    centres = random.uniform(-0.6, 0.6, (count, 2)).astype(np.float32) * (h / min(h, w), w / min(h, w))
    wobble = (noise(random, h, w, (3, 4)) - 0.5) * np.float32(random.uniform(0, 0.4))
    marks = np.zeros((h, w), np.uint8) + 255
    rows = np.clip(((centres[:, 0] + 0.6) / 1.2 * h).astype(int), 0, h - 1)
    columns = np.clip(((centres[:, 1] + 0.6) / 1.2 * w).astype(int), 0, w - 1)
    marks[rows, columns] = 0
    distance, labels = cv2.distanceTransformWithLabels(marks, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    shades = colours[random.integers(len(colours), size=labels.max() + 1)] * random.uniform(0.6, 1.1, (labels.max() + 1, 1)).astype(
        np.float32
    )
    canvas = shades[labels]
    falloff = 1 - random.uniform(0.2, 0.9) * np.clip(distance / max(float(distance.max()), 1.0), 0, 1) ** 2
    return canvas * (falloff + wobble + 0.3 * (noise(random, h, w, (0, 1, 2)) - 0.5))[..., None]


BACKGROUNDS = (landscape, city, room, surface, weave, lights, pieces)
CHANCES = (0.28, 0.12, 0.16, 0.14, 0.13, 0.08, 0.09)
