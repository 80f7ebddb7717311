"""Outlines of the things in procedural scenes.

Closed polygons around (0, 0), about one unit large, y downwards.
"""

from collections.abc import Callable

import numpy as np

Outline = Callable[[np.random.Generator], np.ndarray]

TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)
RING = np.stack([np.cos(TURN), np.sin(TURN)], 1)
WAVES = np.stack([np.exp(1j * k * TURN) for k in range(1, 6)])
ALONG = np.linspace(0, 1, 20)
ARCH = np.sin(np.pi * ALONG).clip(0)
THERE_AND_BACK = np.concatenate([ALONG, ALONG[::-1]]) - 0.5
# Smooth profiles: 20 heights x 6 knots, each row the weights of the knots there.
PROFILES = np.exp(-8 * (5 * ALONG[:, None] - np.arange(6)) ** 2 / 4)
PROFILES /= PROFILES.sum(1, keepdims=True)


def _round(random: np.random.Generator) -> np.ndarray:
    return RING * (0.5, random.uniform(0.25, 0.5))


def _box(random: np.random.Generator) -> np.ndarray:
    h, lean = random.uniform(0.2, 0.5), random.uniform(-0.15, 0.15)
    return np.array([(-0.5 + lean, -h), (0.5 + lean, -h), (0.5, h), (-0.5, h)])


def _polygon(random: np.random.Generator) -> np.ndarray:
    return RING[np.sort(random.integers(len(RING), size=int(random.integers(3, 8))))] * 0.55


def _star(random: np.random.Generator) -> np.ndarray:
    points = 2 * int(random.integers(4, 9))
    t = np.arange(points) * (2 * np.pi / points)
    radius = np.where(np.arange(points) % 2, random.uniform(0.2, 0.35), 0.55)
    return np.stack([np.cos(t) * radius, np.sin(t) * radius], 1)


def _blob(random: np.random.Generator) -> np.ndarray:
    weights = random.standard_normal((2, 5)) * (0.1 / np.arange(1, 6))
    radius = 0.42 + weights[0] @ WAVES.real + weights[1] @ WAVES.imag
    return RING * radius[:, None]


def leaf(random: np.random.Generator) -> np.ndarray:
    """A leaf or petal along x, more or less slender and bent."""
    half = ARCH ** random.uniform(0.7, 1.6) * random.uniform(0.1, 0.25)
    bend = random.uniform(-0.6, 0.6) * ALONG * (1 - ALONG)
    y = np.concatenate([bend - half, (bend + half)[::-1]])
    return np.stack([THERE_AND_BACK, y], 1)


def _turned(random: np.random.Generator) -> np.ndarray:
    """A bottle, vase, lamp or chess-piece: a random profile around a vertical axis."""
    half = PROFILES @ random.uniform(0.05, 0.3, 6)
    return np.stack([np.concatenate([-half, half[::-1]]), THERE_AND_BACK], 1)


def _house(random: np.random.Generator) -> np.ndarray:
    w, eaves, ridge = (
        random.uniform(0.25, 0.5),
        random.uniform(-0.2, 0.1),
        random.uniform(-0.3, 0.3),
    )
    return np.array([(-w, 0.5), (-w, eaves), (ridge * w, -0.5), (w, eaves), (w, 0.5)])


def _person(random: np.random.Generator) -> np.ndarray:
    head = np.roll(RING, -16, 0)[:28] * (0.1, 0.12) - (0, 0.36)
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
    back, belly, neck, leg = (
        random.uniform(-0.2, -0.1),
        random.uniform(0.05, 0.15),
        random.uniform(-0.45, -0.15),
        random.uniform(0.3, 0.5),
    )
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
        + [
            (0.26, belly - 0.05),
            (0.34, neck + 0.2),
            (0.55, neck + 0.12),
            (0.52, neck),
            (0.38, neck - 0.06),
            (0.35, neck - 0.16),
        ]
        + [(0.3, neck - 0.04), (0.18, back), (-0.1, back + random.uniform(-0.05, 0.05))]
    )


def _arrow(random: np.random.Generator) -> np.ndarray:
    t, n = random.uniform(0.06, 0.16), random.uniform(-0.1, 0.25)
    return np.array([(-0.5, -t), (n, -t), (n, -0.35), (0.5, 0), (n, 0.35), (n, t), (-0.5, t)])


def _vehicle(random: np.random.Generator) -> np.ndarray:
    roof, front = random.uniform(-0.35, -0.2), random.uniform(0.15, 0.35)
    body = [
        (-0.5, 0.1),
        (-0.48, -0.05),
        (-0.3, -0.08),
        (-0.2, roof),
        (front - 0.1, roof),
        (front + 0.05, -0.06),
        (0.5, 0.0),
        (0.5, 0.12),
    ]
    wheel = RING[:20:3] * 0.1
    return np.concatenate([np.array(body), wheel + (0.3, 0.12), wheel + (-0.28, 0.12)])


UPRIGHT: tuple[Outline, ...] = (_turned, _house, _person, _animal, _vehicle, _box)
LOOSE: tuple[Outline, ...] = (_round, _blob, _polygon, _star, leaf, _arrow, _box, _round, _blob)


def place(
    outline: np.ndarray, centre: tuple[float, float], size: float, angle: float, mirrored: bool
) -> np.ndarray:
    """Turn an outline by `angle` radians, scale it to `size` pixels and move it to `centre`.

    `centre` is (x, y) in pixels; a mirrored outline is mirrored first.
    """
    c, s = np.cos(angle), np.sin(angle)
    points = outline * (-1.0 if mirrored else 1.0, 1.0)
    return points @ np.array([[c, s], [-s, c]]) * size + centre
