"""Backgrounds of procedural scenes.

Each function returns a new canvas, float32 3 x height x width RGB about [0, 1].
"""

import cv2
import numpy as np

from datagen.sources.scenes.paint import (
    contrast,
    cover,
    grid,
    material,
    noise,
    pick,
    ramp,
    rgb,
    tint,
)


def _rows(h: int) -> np.ndarray:
    return np.arange(h, dtype=np.float32)[:, None] / h


def _below(h: int, line: np.ndarray | float) -> np.ndarray:
    """1 below a line and 0 above, with an edge two pixels wide; height x width (or 1).

    The line is given in shares of the height.
    """
    return np.clip((_rows(h) - line) * np.float32(h / 2), 0, 1)


def _ridge(random: np.random.Generator, width: int, rough: float) -> np.ndarray:
    """A skyline: width float32 around 0, in shares of the height."""
    at = np.linspace(0, 1, width)
    line = np.zeros(width)
    for octave in range(4):
        knots = random.uniform(-rough, rough, 3 + 3**octave) * 0.5**octave
        line += np.interp(at * (len(knots) - 1), np.arange(len(knots)), knots)
    return line.astype(np.float32)


def _sky(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    if random.random() < 0.6:
        hue = random.normal(0.58, 0.03)
        top = rgb(hue, random.uniform(0.2, 0.75), random.uniform(0.4, 0.95))
        low = rgb(hue + random.normal(0, 0.05), random.uniform(0, 0.35), random.uniform(0.7, 1))
    else:
        top, low = colours[0], colours[1] * 0.5 + np.float32(random.uniform(0.1, 0.5))
    sky = tint(top, low, ramp(random, h, w, np.pi / 2 + random.normal(0, 0.15)) * np.float32(1.2))
    if random.random() < 0.65:
        clouds = np.clip(
            (noise(random, h, w, (3, 4, 4, 7)) - random.uniform(0.4, 0.65)) * random.uniform(2, 5),
            0,
            0.9,
        )
        cover(sky, np.full((3, 1, 1), random.uniform(0.5, 1.0), np.float32), clouds)
    return sky


def _ground(
    random: np.random.Generator, h: int, w: int, horizon: float, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """A textured plane in perspective below the horizon, which is a share of the height.

    Rows above the horizon hold no meaning.
    """
    y = (_rows(h) - np.float32(horizon)).clip(0.03, 1)
    x = np.arange(w, dtype=np.float32)[None, :] / w - np.float32(random.uniform(0.2, 0.8))
    turn = np.float32(random.uniform(15, 50))
    columns, rows = (
        x * (turn / (y + np.float32(0.05))),
        np.broadcast_to(turn * 4 / (y * 4 + np.float32(0.3)), (h, w)),
    )
    texture = noise(random, 128, 128, (1, 2, 3, 3, 5, 6), random.uniform(0.4, 1.0))
    share = cv2.remap(
        texture,
        columns,
        np.ascontiguousarray(rows),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return tint(a, b, contrast(share, random.uniform(0.4, 1.4))) * (
        np.float32(0.75) + np.float32(0.35) * y
    )


def landscape(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """Sky, hills that fade with distance, and a plane of earth, grass, water or sand."""
    canvas = _sky(random, h, w, colours)
    haze = canvas[:, h // 2, w // 2].copy()
    horizon = random.uniform(0.3, 0.8)
    hills = int(random.integers(0, 4))
    for index in range(hills):
        line = horizon - 0.05 * (hills - index) + _ridge(random, w, random.uniform(0.02, 0.16))
        colour = haze + (index + 1) / (hills + 1) * (colours[2 + index] * np.float32(0.8) - haze)
        layer = tint(
            colour * np.float32(0.7),
            colour * np.float32(1.2),
            noise(random, h, w, (1, 2, 3, 10, 11)),
        )
        cover(canvas, layer, _below(h, line))
    if random.random() < 0.85:
        slope = np.linspace(-1, 1, w, dtype=np.float32) * np.float32(random.normal(0, 0.03))
        cover(
            canvas,
            _ground(random, h, w, horizon - 0.05, colours[5], colours[6]),
            _below(h, slope + np.float32(horizon)),
        )
    return canvas


def city(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """Facades with windows before a sky, lit from one side, on a street."""
    canvas = _sky(random, h, w, colours)
    unit, base, x = min(h, w), random.uniform(0.7, 1.0), -random.uniform(0, 0.2) * w
    while x < w:
        width, top = random.uniform(0.15, 0.6) * unit, random.uniform(0.02, 0.6) * h
        x0, x1, y0, y1 = max(int(x), 0), min(int(x + width), w), int(top), int(base * h)
        if x1 - x0 > 2 and y1 - y0 > 2:
            _facade(random, canvas[:, y0:y1, x0:x1], colours, unit)
        x += width * random.uniform(0.9, 1.2)
    street = int(base * h)
    if street < h - 2:
        dark = np.float32(0.7)
        canvas[:, street:] = _ground(
            random, h, w, base - 0.05, colours[5] * dark, colours[6] * dark
        )[:, street:]
    return canvas


def _facade(random: np.random.Generator, area: np.ndarray, colours: np.ndarray, unit: int) -> None:
    h, w = area.shape[1:]
    wall = pick(random, colours) * np.float32(random.uniform(0.6, 1.1))
    brightness = np.float32(0.8) + np.float32(0.35) * noise(random, h, w, (1, 2, 3, 8), 0.4)
    brightness[:, : int(random.uniform(0, 0.3) * w)] *= np.float32(0.65)
    area[:] = wall[:, None, None] * brightness
    u = np.arange(w, dtype=np.float32) / np.float32(random.uniform(0.06, 0.2) * unit) + np.float32(
        0.2
    )
    v = np.arange(h, dtype=np.float32) / np.float32(random.uniform(0.08, 0.25) * unit) + np.float32(
        0.2
    )
    across, down = u % 1, v % 1
    window = (np.abs(down - 0.5) < random.uniform(0.15, 0.35))[:, None] & (
        np.abs(across - 0.5) < random.uniform(0.15, 0.4)
    )
    lit = random.random((97,), np.float32)[
        (np.floor(v).astype(np.int32)[:, None] * 31 + np.floor(u).astype(np.int32)) % 97
    ]
    glass = tint(
        wall * np.float32(0.25),
        colours[3] * np.float32(0.4) + np.float32(0.5),
        (lit < random.uniform(0, 0.5)).astype(np.float32),
    )
    cover(area, glass, window.astype(np.float32))


def room(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """A wall above a table or floor, or the corner of two walls, each of its own material."""
    canvas = material(random, h, w, colours[0], colours[1])
    canvas *= np.float32(0.65) + np.float32(0.5) * ramp(random, h, w)
    if random.random() < 0.4:
        corner = np.clip(
            (np.arange(w, dtype=np.float32) / w - np.float32(random.uniform(0.15, 0.85)))
            * np.float32(w / 2),
            0,
            1,
        )
        cover(
            canvas,
            material(random, h, w, colours[2], colours[3]) * np.float32(random.uniform(0.4, 0.9)),
            corner,
        )
    edge = random.uniform(0.4, 0.85)
    line = np.linspace(-1, 1, w, dtype=np.float32) * np.float32(
        random.normal(0, 0.07)
    ) + np.float32(edge)
    floor = _ground(random, h, w, edge - 0.15, colours[4], colours[5])
    if random.random() < 0.5:
        floor *= np.float32(0.6) + np.float32(0.8) * ramp(random, h, w)
    cover(canvas, floor, _below(h, line))
    return canvas


def surface(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """A close-up of one material with a second one showing through where noise says so."""
    canvas = material(random, h, w, colours[0], colours[1])
    if random.random() < 0.6:
        share = contrast(
            noise(random, h, w, (2, 3, 4, 6, 7, 9, 11)),
            random.uniform(2, 12),
            random.uniform(0.4, 0.6),
        )
        cover(canvas, material(random, h, w, colours[2], colours[3]), share)
    relief = np.float32(random.uniform(0.1, 1.0))
    canvas *= (np.float32(1) - relief / 2) + relief * noise(random, h, w, (1, 2, 3, 5, 6, 8, 9))
    return canvas


def weave(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """Noise in four colours at three scales: foliage, stone, fur, cloud, rust."""
    canvas = tint(
        colours[0],
        colours[1],
        contrast(noise(random, h, w, (2, 3, 4, 6, 7, 9, 10, 11)), random.uniform(0.8, 2.5)),
    )
    cover(
        canvas,
        colours[2][:, None, None],
        contrast(noise(random, h, w, (2, 3, 4, 6, 7, 9, 10, 11)), random.uniform(1, 4), 0.65),
    )
    cover(
        canvas,
        colours[3][:, None, None] * np.float32(0.4),
        contrast(noise(random, h, w, (1, 2, 3, 9, 10)), random.uniform(1, 4), 0.75),
    )
    return canvas


def lights(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """Discs of light out of focus on a smooth ground, dark or bright."""
    unit = min(h, w)
    dim = np.float32(random.uniform(0.1, 1))
    canvas = tint(colours[0] * dim, colours[1] * dim, noise(random, h, w, (3, 4, 7), 0.2))
    for index in range(3):
        mask = np.zeros((h, w), np.uint8)
        for _ in range(int(random.integers(2, 10))):
            centre = (int(random.uniform(0, w) * 16), int(random.uniform(0, h) * 16))
            radius = int(random.uniform(0.02, 0.13) * unit * 16)
            cv2.circle(mask, centre, radius, int(random.uniform(60, 255)), -1, cv2.LINE_AA, 4)
        size = int(random.uniform(0, 0.06) * unit) * 2 + 1
        alpha = cv2.blur(mask, (size, size)).astype(np.float32) * np.float32(1 / 255)
        cover(
            canvas, colours[index + 2][:, None, None] * np.float32(random.uniform(0.7, 1.3)), alpha
        )
    return canvas


def pieces(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """A plane broken into cells around random points.

    Stones, scales, cracked earth, stained glass, fields from the air.
    """
    count = int(random.integers(8, 60))
    marks = np.full((h, w), 255, np.uint8)
    marks[random.integers(h, size=count), random.integers(w, size=count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        marks, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    number = int(labels.max()) + 1
    shades = colours[random.integers(len(colours), size=number)] * random.uniform(
        0.6, 1.1, (number, 1)
    ).astype(np.float32)
    falloff = np.float32(1) - distance * distance * np.float32(
        random.uniform(0.1, 0.9) / max(float(distance.max()), 1.0) ** 2
    )
    falloff *= np.float32(0.7) + np.float32(0.6) * noise(random, h, w, (1, 2, 3, 6))
    return np.take(np.ascontiguousarray(shades.T), labels, axis=1) * falloff


def glow(random: np.random.Generator, h: int, w: int, colours: np.ndarray) -> np.ndarray:
    """A plain backdrop, lighter around one spot: a studio, a wall in lamplight, an evening."""
    y, x = grid(h, w)
    x, y = x - np.float32(random.uniform(-0.4, 0.4)), y - np.float32(random.uniform(-0.4, 0.4))
    return tint(
        colours[0],
        colours[1] * np.float32(0.7),
        np.clip(np.sqrt(x * x + y * y) * np.float32(random.uniform(0.8, 2)), 0, 1),
    )


BACKGROUNDS = (landscape, city, room, surface, weave, lights, pieces, glow)
BOUNDS = np.cumsum((0.28, 0.12, 0.17, 0.11, 0.12, 0.06, 0.06))
