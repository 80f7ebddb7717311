"""Outlines of the things in procedural scenes: closed polygons around (0, 0), about one unit large, y downwards."""

from collections.abc import Callable

import numpy as np

Outline = Callable[[np.random.Generator], np.ndarray]


def _round(random: np.random.Generator) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([np.cos(t) * 0.5, np.sin(t) * 0.5 * random.uniform(0.5, 1.0)], 1)


def _box(random: np.random.Generator) -> np.ndarray:
    h, lean = random.uniform(0.2, 0.5), random.uniform(-0.15, 0.15)
    return np.array([(-0.5 + lean, -h), (0.5 + lean, -h), (0.5, h), (-0.5, h)])


def _polygon(random: np.random.Generator) -> np.ndarray:
    t = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(3, 8))))
    return np.stack([np.cos(t), np.sin(t)], 1) * 0.55


def _star(random: np.random.Generator) -> np.ndarray:
    points, depth = int(random.integers(4, 9)), random.uniform(0.2, 0.35)
    t = np.arange(2 * points) * np.pi / points
    return np.stack([np.cos(t), np.sin(t)], 1) * np.where(np.arange(2 * points) % 2, depth, 0.55)[:, None]


def _blob(random: np.random.Generator) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = 0.42 + sum(random.normal(0, 0.13 / k) * np.cos(k * t + random.uniform(0, 6.3)) for k in range(1, 6))
    return np.stack([np.cos(t) * radius, np.sin(t) * radius], 1)


def leaf(random: np.random.Generator) -> np.ndarray:
    s = np.linspace(0, 1, 16)
    half = np.sin(np.pi * s ** random.uniform(0.6, 1.4)) * random.uniform(0.1, 0.25)
    bend = random.uniform(-0.3, 0.3) * s * (1 - s) * 2
    x = s - 0.5
    return np.concatenate([np.stack([x, bend - half], 1), np.stack([x, bend + half], 1)[::-1]])


def _turned(random: np.random.Generator) -> np.ndarray:
    """A bottle, vase, lamp or chess-piece: a random profile around a vertical axis."""
    s = np.linspace(-0.5, 0.5, 24)
    knots = random.uniform(0.05, 0.3, 6)
    half = np.interp(s, np.linspace(-0.5, 0.5, 6), knots)
    half = np.convolve(np.pad(half, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    return np.concatenate([np.stack([-half, s], 1), np.stack([half, s], 1)[::-1]])


def _house(random: np.random.Generator) -> np.ndarray:
    w, eaves, ridge = random.uniform(0.25, 0.5), random.uniform(-0.2, 0.1), random.uniform(-0.3, 0.3)
    return np.array([(-w, 0.5), (-w, eaves), (ridge * w, -0.5), (w, eaves), (w, 0.5)])


def _person(random: np.random.Generator) -> np.ndarray:
    t = np.linspace(0.8 * np.pi, 2.2 * np.pi, 14)
    head = np.stack([np.cos(t) * 0.1, np.sin(t) * 0.12 - 0.36], 1)
    s, hip, leg = random.uniform(0.17, 0.26), random.uniform(0.1, 0.18), random.uniform(0.0, 0.12)
    arm = random.uniform(-0.1, 0.25)
    right = [
        (0.06, -0.24),
        (s, -0.18),
        (s + 0.06 + max(arm, 0) * 0.6, 0.1 - arm),
        (s - 0.04, 0.06),
        (hip, 0.12),
        (hip + leg, 0.5),
        (hip + leg - 0.1, 0.5),
    ]
    left = [(-x, y) for x, y in right][::-1]
    left[3:5] = [(-s + 0.04, 0.06), (-s - 0.06, 0.14)]
    return np.concatenate([head, np.array(right), [(0.01, 0.2)], np.array(left)])


def _animal(random: np.random.Generator) -> np.ndarray:
    back, belly, neck, leg = random.uniform(-0.2, -0.1), random.uniform(0.05, 0.15), random.uniform(-0.45, -0.15), random.uniform(0.3, 0.5)
    tail = random.uniform(-0.3, 0.3)
    return np.array(
        [
            (-0.4, back),
            (-0.55, tail),
            (-0.44, belly - 0.05),
            (-0.4, leg),
            (-0.32, leg),
            (-0.28, belly),
            (0.1, belly),
            (0.14, leg),
            (0.22, leg),
        ]
        + [(0.26, belly - 0.05), (0.34, neck + 0.2), (0.55, neck + 0.12), (0.52, neck), (0.38, neck - 0.06), (0.35, neck - 0.16)]
        + [(0.3, neck - 0.04), (0.18, back), (-0.1, back + random.uniform(-0.05, 0.05))]
    )


def _arrow(random: np.random.Generator) -> np.ndarray:
    t, n = random.uniform(0.06, 0.16), random.uniform(-0.1, 0.25)
    return np.array([(-0.5, -t), (n, -t), (n, -0.35), (0.5, 0), (n, 0.35), (n, t), (-0.5, t)])


def _vehicle(random: np.random.Generator) -> np.ndarray:
    roof, front = random.uniform(-0.35, -0.2), random.uniform(0.15, 0.35)
    body = [(-0.5, 0.1), (-0.48, -0.05), (-0.3, -0.08), (-0.2, roof), (front - 0.1, roof), (front + 0.05, -0.06), (0.5, 0.0), (0.5, 0.12)]
    wheels = []
    for centre in (0.3, -0.28):
        t = np.linspace(0, np.pi, 8)
        wheels += [(centre + 0.1 * np.cos(a), 0.12 + 0.1 * np.sin(a)) for a in t]
    return np.array(body + wheels)


UPRIGHT: tuple[Outline, ...] = (_turned, _house, _person, _animal, _vehicle, _box)
LOOSE: tuple[Outline, ...] = (_round, _blob, _polygon, _star, leaf, _arrow, _box, _round, _blob)


def place(outline: np.ndarray, centre: tuple[float, float], size: float, angle: float, mirrored: bool) -> np.ndarray:
    """The outline turned by `angle` radians, scaled to `size` pixels, mirrored or not, and moved to `centre` (x, y) in pixels."""
    c, s = np.cos(angle), np.sin(angle)
    points = outline * (-1.0 if mirrored else 1.0, 1.0)
    return points @ np.array([[c, s], [-s, c]]) * size + centre
