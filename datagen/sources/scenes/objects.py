"""What stands in procedural scenes, drawn onto a canvas in place.

Shaded things with shadows, portraits, lines, letters and leaves.

Canvases are float32 3 x H x W RGB about [0, 1]; light comes from the angle `light` in radians.
"""

import cv2
import numpy as np

from datagen.sources.scenes.paint import cover, material, noise, pick, ramp, rgb, tint
from datagen.sources.scenes.shapes import ALONG, LOOSE, RING, UPRIGHT, leaf, place

# Strokes through the points of a 3 x 3 grid (0 top left, 8 bottom right): letters, digits, and
# signs of no alphabet.
LETTERS = (
    *(
        "618,35",
        "20068",
        "20068,34",
        "2006,34",
        "200685,54",
        "06,28,35",
        "17",
        "06,234,48",
        "068",
        "60428",
        "6082",
        "602534",
        "60253,48",
    ),
    *(
        "203586",
        "02,17",
        "072",
        "08,26",
        "04,27",
        "0268",
        "025368",
        "035,28",
        "026",
        "0286,17",
        "1357",
        "02680,48",
    ),
)


def _fixed(points: np.ndarray) -> list[np.ndarray]:
    """Points in pixels as OpenCV takes them with shift=4: sixteenths, int32."""
    return [np.rint(points * 16).astype(np.int32)]


def things(
    random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray, light: float
) -> None:
    """Draws one or two large subjects, a few things, or many small ones."""
    h, w = canvas.shape[1:]
    unit = min(h, w)
    style = random.random()
    if style < 0.4:
        count, low, high = int(random.integers(1, 3)), 0.5, 1.0
    elif style < 0.85:
        count, low, high = int(random.integers(2, 6)), 0.2, 0.6
    else:
        count, low, high = int(random.integers(7, 16)), 0.08, 0.25
    same = pick(random, LOOSE) if random.random() < 0.25 else None
    floor = random.uniform(0.55, 0.95)
    for _ in range(count):
        upright = same is None and random.random() < 0.55
        kind = same or (pick(random, UPRIGHT) if upright else pick(random, LOOSE))
        size, x, y = (
            random.uniform(low, high) * unit,
            random.uniform(0.05, 0.95) * w,
            random.uniform(0.05, 0.95) * h,
        )
        angle = random.uniform(0, 2 * np.pi)
        if upright:
            y, angle = (floor + random.uniform(-0.1, 0.1)) * h - size / 2, random.normal(0, 0.08)
        first, second = pick(random, colours), pick(random, colours)
        draw(
            random,
            canvas,
            place(kind(random), (x, y), size, angle, random.random() < 0.5),
            first,
            second,
            light,
        )


def draw(
    random: np.random.Generator,
    canvas: np.ndarray,
    outline: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    light: float,
) -> None:
    """Fills an outline (N x 2 pixels) with a shaded material, often over its own shadow."""
    h, w = canvas.shape[1:]
    reach = int(random.uniform(0.01, 0.05) * min(h, w)) + 1
    x0, y0 = (max(int(v) - 2 * reach, 0) for v in outline.min(0))
    x1, y1 = (
        min(int(v) + 1 + 2 * reach, side) for v, side in zip(outline.max(0), (w, h), strict=True)
    )
    rows, columns = y1 - y0, x1 - x0
    if rows < 3 or columns < 3:
        return
    mask = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(mask, _fixed(outline - (x0, y0)), 255, cv2.LINE_AA, 4)
    alpha = mask * np.float32(1 / 255)
    area = canvas[:, y0:y1, x0:x1]
    if random.random() < 0.5:
        away = (np.cos(light) * reach, np.sin(light) * reach)
        shadow = np.zeros((rows, columns), np.uint8)
        cv2.fillPoly(shadow, _fixed(outline - (x0, y0) - away), 255, cv2.LINE_8, 4)
        shadow = cv2.blur(shadow, (2 * reach - 1, 2 * reach - 1))
        area *= np.float32(1) - np.float32(random.uniform(0.3, 0.75) / 255) * shadow
    layer = material(random, rows, columns, first, second)
    shade = _shade(random, rows, columns, light)
    if random.random() < 0.4:
        rough = np.float32(random.uniform(0.2, 0.9))
        shade *= (np.float32(1) - rough / 2) + rough * noise(
            random, rows, columns, (0, 1, 2, 5, 6, 8, 11)
        )
    layer *= shade
    cover(area, layer, alpha)


def _shade(random: np.random.Generator, rows: int, columns: int, light: float) -> np.ndarray:
    """How a thing takes the light, rows x columns around 1.

    Evenly, fading away from the light, or as a dome with a highlight.
    """
    style, strength = random.random(), np.float32(random.uniform(0.2, 1.1))
    if style < 0.5:
        return (np.float32(1) - strength / 2) + strength * ramp(
            random, rows, columns, light + np.pi
        )
    y = np.arange(rows, dtype=np.float32)[:, None] * np.float32(2 / rows) + np.float32(
        0.35 * np.sin(light) - 1
    )
    x = np.arange(columns, dtype=np.float32)[None, :] * np.float32(2 / columns) + np.float32(
        0.35 * np.cos(light) - 1
    )
    away = x * x + y * y
    if style < 0.85:
        return np.float32(1.25) - strength * np.float32(0.55) * np.minimum(away, 1.8)
    return (
        np.float32(1.1)
        - strength * np.float32(0.45) * away
        + np.float32(1.2) * np.clip(np.float32(1) - away * 12, 0, 1)
    )


def portrait(
    random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray, light: float
) -> None:
    """Draws a head with hair and shoulders: the subject that photographs have most often."""
    h, w = canvas.shape[1:]
    size = random.uniform(0.4, 0.75) * min(h, w)
    centre = np.array([random.uniform(0.3, 0.7) * w, random.uniform(0.35, 0.5) * h])
    tilt = random.normal(0, 0.15)
    skin = rgb(random.normal(0.065, 0.015), random.uniform(0.25, 0.65), random.uniform(0.3, 1.0))
    hair = rgb(random.normal(0.08, 0.03), random.uniform(0.1, 0.7), random.uniform(0.03, 0.6))

    def oval(x: float, y: float, across: float, down: float) -> np.ndarray:
        """The outline of an oval of the head, tilted as the head is."""
        c, s = np.cos(tilt), np.sin(tilt)
        return (RING * (across, down) + (x, y)) @ np.array([[c, s], [-s, c]]) * size + centre

    def paint(outline: np.ndarray, colour: np.ndarray, other: np.ndarray) -> None:
        """Draw an outline on the canvas, shaded from one colour to another."""
        draw(random, canvas, outline, colour, other, light)

    shoulders = oval(0, 1.05, random.uniform(0.6, 0.85), 0.5)
    paint(shoulders, pick(random, colours), pick(random, colours))
    paint(oval(0, 0.45, 0.17, 0.3), skin * np.float32(0.8), skin)  # the neck
    back = oval(0, -0.08, random.uniform(0.36, 0.5), random.uniform(0.46, 0.65))
    paint(back, hair, hair * np.float32(0.5))
    paint(oval(random.normal(0, 0.04), 0.08, 0.31, 0.4), skin, skin * np.float32(0.85))
    aside = random.normal(0, 0.05)
    for x in (-0.13, 0.13):
        paint(oval(x + aside, 0.0, 0.055, 0.03), np.full(3, 0.85, np.float32), hair)
        pupil = oval(x + aside * 1.3, 0.0, 0.028, 0.03)
        paint(pupil, hair * np.float32(0.4), hair * np.float32(0.2))
        paint(oval(x + aside, -0.08, 0.07, 0.012), hair, hair)
    paint(oval(aside * 1.5, 0.11, 0.03, 0.07), skin * np.float32(0.75), skin)
    lips = skin * np.array([0.85, 0.5, 0.5], np.float32)
    mouth = oval(aside, 0.26, random.uniform(0.06, 0.13), random.uniform(0.015, 0.04))
    paint(mouth, lips, lips * np.float32(0.7))


def lines(random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray) -> None:
    """Draws branches, wires or a fence: curves that share a colour."""
    h, w = canvas.shape[1:]
    unit = min(h, w)
    mask = np.zeros((h, w), np.uint8)
    fence = random.random() < 0.3
    gap, lean, start = random.uniform(0.06, 0.2), random.normal(0, 0.1), random.random()
    root = random.uniform(-0.2, 1.2, 2) if random.random() < 0.5 else None
    t = ALONG[:, None]
    for index in range(int(random.integers(2, 7))):
        thickness = max(1, int(random.uniform(0.008, 0.035) * unit))
        if fence:
            x = (start + index * gap) % 1.0 * w
            points = np.array([(x, random.uniform(0.3, 0.5) * h), (x + lean * h, h)])
        else:
            ends = random.uniform(-0.1, 1.1, (3, 2))
            if root is not None:
                ends[0], ends[1] = root, (root + ends[2]) / 2 + (ends[1] - 0.5) * 0.4
            points = (ends[0] * (1 - t) ** 2 + 2 * ends[1] * t * (1 - t) + ends[2] * t**2) * (w, h)
        cv2.polylines(mask, _fixed(points), False, 255, thickness, cv2.LINE_AA, 4)
    colour = pick(random, colours) * np.float32(random.uniform(0.1, 1.0))
    layer = tint(colour, colour * np.float32(1.6), noise(random, h, w, (1, 2, 3)))
    cover(canvas, layer, mask * np.float32(1 / 255))


def letters(random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray) -> None:
    """Writes a few letters and digits in strokes, as signs and labels do."""
    h, w = canvas.shape[1:]
    size = random.uniform(0.08, 0.35) * min(h, w)
    x, y = random.uniform(0.0, 0.6) * w, random.uniform(0.0, 0.9) * h
    slant, wide, thickness = (
        random.normal(0, 0.2),
        random.uniform(0.5, 0.9),
        max(1, int(size * random.uniform(0.08, 0.25))),
    )
    mask = np.zeros((h, w), np.uint8)
    for _ in range(int(random.integers(1, 6))):
        for stroke in pick(random, LETTERS).split(","):
            points = np.array([(int(c) % 3 * wide / 2, int(c) // 3 / 2) for c in stroke]) * size
            points[:, 0] -= slant * (points[:, 1] - size)
            cv2.polylines(mask, _fixed(points + (x, y)), False, 255, thickness, cv2.LINE_AA, 4)
        x += size * (wide + 0.3)
    colour = (
        pick(random, colours)
        if random.random() < 0.6
        else np.full(3, (0.03, 0.97)[int(random.integers(2))], np.float32)
    )
    cover(canvas, colour[:, None, None], mask * np.float32(1 / 255))


def leaves(random: np.random.Generator, canvas: np.ndarray, colours: np.ndarray) -> None:
    """Draws a spray of leaves or petals from one point, as plants at the edge of a picture do."""
    h, w = canvas.shape[1:]
    root = random.uniform(-0.1, 1.1, 2) * (w, h)
    spread, facing = random.uniform(1.0, 6.3), random.uniform(0, 2 * np.pi)
    mask, tone = np.zeros((h, w), np.uint8), np.zeros((h, w), np.uint8)
    for _ in range(int(random.integers(5, 12))):
        size, angle = (
            random.uniform(0.15, 0.45) * min(h, w),
            facing + random.uniform(-0.5, 0.5) * spread,
        )
        centre = root + np.array([np.cos(angle), np.sin(angle)]) * size * random.uniform(0.5, 1.2)
        outline = _fixed(
            place(leaf(random), (float(centre[0]), float(centre[1])), size, angle, False)
        )
        cv2.fillPoly(mask, outline, 255, cv2.LINE_AA, 4)
        cv2.fillPoly(tone, outline, int(random.uniform(0, 255)), cv2.LINE_8, 4)
    shade = tone * np.float32(0.8 / 255) + np.float32(0.4) * noise(random, h, w, (1, 2, 5))
    layer = tint(pick(random, colours), pick(random, colours) * np.float32(0.7), shade)
    cover(canvas, layer, mask * np.float32(1 / 255))
