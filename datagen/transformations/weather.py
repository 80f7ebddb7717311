"""Kind weather: light, air and water in front of the scene."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    COLOURS,
    CORNERS,
    NAMED_COLOUR,
    blend,
    centred,
    disc,
    grid,
    luma,
    noise,
    over_channels,
    pattern,
    to_uint8,
    unit,
)
from datagen.transformations.blur import soften
from datagen.transformations.declaration import Parameter, family, presets

KIND = "weather"
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}


@family(
    "fog",
    kind=KIND,
    presets=presets("density", 0.25, 0.45, 0.7),
    density=Parameter("share of fog", 0, 0.9),
    instruction="wrap the scene in fog of density {density}",
)
def fog(image: np.ndarray, density: float) -> np.ndarray:
    """Blend the picture with clouds that are denser towards the top."""
    rise = unit(*image.shape[:2])[1]
    clouds = _clouds(*image.shape[:2])
    return blend(
        image, (215, 220, 226), np.clip(density * (1.35 - 0.7 * rise) + 0.1 * clouds, 0, 0.95)
    )


@pattern
def _clouds(height: int, width: int) -> np.ndarray:
    """Soft noise with a standard deviation of 1, float32 H x W."""
    clouds = soften(noise(height, width, 1, 21)[..., 0], 7.0)
    return clouds / max(float(clouds.std()), 1e-6)


@family(
    "mist_below",
    kind=KIND,
    presets=presets("height_share", 0.35, 0.55, 0.8),
    height_share=Parameter("height that the mist reaches", 0.1, 1, unit="of the height"),
    instruction="let white mist rise from below over {height_share} of the height",
)
def mist_below(image: np.ndarray, height_share: float) -> np.ndarray:
    """Blend the lower part with white."""
    rise = unit(*image.shape[:2])[1]
    return blend(image, (235, 238, 240), np.clip((rise - 1 + height_share) / 0.25, 0, 0.9))


@pattern
def _streaks(height: int, width: int, degrees: float, share: float) -> np.ndarray:
    scale = min(height, width) / 64
    small = max(8, round(height / scale)), max(8, round(width / scale))
    drops = (np.random.default_rng(31).random(small) < share).astype(np.float32)
    line = np.zeros((13, 13), np.float32)
    line[:, 6] = 1
    line = cv2.warpAffine(line, cv2.getRotationMatrix2D((6, 6), degrees, 1.0), (13, 13))
    return np.clip(
        cv2.resize(cv2.filter2D(drops, -1, line), (width, height), interpolation=cv2.INTER_CUBIC),
        0,
        1,
    )


@family(
    "rain",
    kind=KIND,
    presets=presets("degrees share", (-30, 0.04), (0, 0.02), (0, 0.05), (30, 0.04)),
    degrees=Parameter("counterclockwise slant", -45, 45, unit="degrees"),
    share=Parameter("density of the drops", 0.005, 0.1),
    instruction="let it rain with a slant of {degrees} degrees and density {share}",
)
def rain(image: np.ndarray, degrees: float, share: float) -> np.ndarray:
    """Darken the picture and draw streaks."""
    return blend(
        blend(image, (70, 80, 95), 0.3),
        (215, 225, 240),
        0.75 * _streaks(*image.shape[:2], degrees, share),
    )


@pattern
def _flakes(height: int, width: int, share: float) -> np.ndarray:
    scale = min(height, width) / 64
    draw = np.random.default_rng(41).random(
        (max(8, round(height / scale)), max(8, round(width / scale)))
    )
    field = np.zeros((height, width), np.float32)
    for row, column in zip(*np.nonzero(draw < share), strict=True):
        radius = 0.7 + 1.3 * (draw[row, column] / share)
        cv2.circle(
            field,
            (round((column + 0.5) * scale), round((row + 0.5) * scale)),
            max(1, round(radius * scale)),
            1.0,
            -1,
            cv2.LINE_AA,
        )
    return np.clip(field, 0, 1)


@family(
    "snow",
    kind=KIND,
    presets=presets("share", 0.01, 0.025, 0.06),
    share=Parameter("density of the flakes", 0.005, 0.1),
    instruction="let it snow with density {share}",
)
def snow(image: np.ndarray, share: float) -> np.ndarray:
    """Lighten the picture and draw flakes."""
    return blend(
        blend(image, (225, 230, 240), 0.2), (255, 255, 255), _flakes(*image.shape[:2], share)
    )


@family(
    "snow_cover",
    kind=KIND,
    presets=presets("level", 50, 90, 130),
    level=Parameter("luma from which on snow lies", 0, 255),
    instruction="cover everything brighter than level {level} with snow",
)
def snow_cover(image: np.ndarray, level: float) -> np.ndarray:
    """Blend bright parts with white."""
    bright = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return blend(image, (245, 248, 255), np.clip((bright - level) / 40, 0, 1))


@pattern
def _rays(height: int, width: int, corner: str) -> np.ndarray:
    """A weight that is 1 in the rays from a corner and falls with the distance, H x W."""
    across, down = CORNERS[corner]
    x, y = unit(height, width)
    x, y = np.abs(x - across) + 0.02, np.abs(y - down) + 0.02
    rays = np.clip(0.55 + 0.6 * np.cos(np.arctan2(y, x) * 16), 0, 1)
    return rays * np.clip(1.25 - 0.7 * np.hypot(x, y), 0, 1)


@family(
    "sunbeam",
    kind=KIND,
    presets=presets("corner", *CORNERS),
    corner=Parameter("corner that the light comes from", choices=tuple(CORNERS)),
    instruction="let sunbeams shine in from the {corner}",
)
def sunbeam(image: np.ndarray, corner: str) -> np.ndarray:
    """Add rays of warm light from a corner."""
    rays = _rays(*image.shape[:2], corner)
    return to_uint8(image + cv2.merge([rays * np.float32(level) for level in (150, 125, 70)]))


@family(
    "night",
    kind=KIND,
    presets=presets("depth", 0.2, 0.45, 0.65),
    depth=Parameter("darkness", 0, 0.9),
    instruction="turn day into a bluish night of depth {depth}",
)
def night(image: np.ndarray, depth: float) -> np.ndarray:
    """Darken the picture, take colour away, add blue."""
    gray = luma(image).astype(np.float32) * np.float32(0.65)
    channels = [
        to_uint8((channel * np.float32(0.35) + gray) * (1 - depth) * np.float32(tone))
        for channel, tone in zip(cv2.split(image), (0.7, 0.85, 1.35), strict=True)
    ]
    return cv2.merge(channels)


@family(
    "light_from",
    kind=KIND,
    presets=presets(
        "side shade",
        ("left", "orange"),
        ("right", "orange"),
        ("top", "orange"),
        ("bottom", "orange"),
        ("left", "cyan"),
        ("right", "cyan"),
        ("top", "purple"),
        ("bottom", "purple"),
    ),
    side=Parameter("side that the light comes from", choices=tuple(DIRECTIONS)),
    shade=NAMED_COLOUR,
    instruction="let {shade} light fall in from the {side}",
)
def light_from(image: np.ndarray, side: str, shade: str) -> np.ndarray:
    """Blend the picture with a colour, more so towards one side."""
    right, down = DIRECTIONS[side]
    x, y = unit(*image.shape[:2])
    lit = (x - 0.5) * right + (y - 0.5) * down
    return blend(image, COLOURS[shade], np.clip(0.4 + 0.8 * lit, 0, 0.85))


@family(
    "shade_from",
    kind=KIND,
    presets=presets("side", *DIRECTIONS),
    side=Parameter("side that the shade comes from", choices=tuple(DIRECTIONS)),
    instruction="let a dark shade fall in from the {side}",
)
def shade_from(image: np.ndarray, side: str) -> np.ndarray:
    """Darken the picture towards one side."""
    right, down = DIRECTIONS[side]
    x, y = unit(*image.shape[:2])
    light = np.clip(0.55 - 1.1 * ((x - 0.5) * right + (y - 0.5) * down), 0, 1.3)
    return to_uint8(image * over_channels(light))


@family(
    "lens_flare",
    kind=KIND,
    presets=presets("x y", (0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8)),
    x=Parameter("place from the left", 0, 1, unit="of the width"),
    y=Parameter("place from above", 0, 1, unit="of the height"),
    instruction="add a lens flare with the light at {x} of the width and {y} of the height",
)
def lens_flare(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Add a light and three reflections of it across the centre."""
    total = image.astype(np.float32)
    spots = (
        (0.0, 0.16, (255, 240, 200), 0.35),
        (0.9, 0.07, (90, 200, 120), 0.03),
        (1.35, 0.11, (200, 110, 60), 0.03),
        (1.8, 0.05, (90, 130, 220), 0.03),
    )
    for step, radius, light, soft in spots:
        position = x + (0.5 - x) * step, y + (0.5 - y) * step
        spot = disc(image, *position, radius, soft)
        total += cv2.merge([spot * np.float32(level) for level in light])
    return to_uint8(total)


@family(
    "sunset",
    kind=KIND,
    presets=presets("strength", 0.3, 0.5, 0.7),
    strength=Parameter("share of the colours", 0, 0.9),
    instruction="bathe the scene in a sunset of strength {strength}",
)
def sunset(image: np.ndarray, strength: float) -> np.ndarray:
    """Blend the picture with a sky from violet to orange."""
    rise = unit(*image.shape[:2])[1][..., None]
    sky = (1 - rise) * np.array([95, 40, 130], np.float32) + rise * np.array(
        [255, 140, 50], np.float32
    )
    return blend(image, sky, strength)


@family(
    "water_mirror",
    kind=KIND,
    presets=presets("line", 0.5, 0.62, 0.75),
    line=Parameter("place of the water line from above", 0.5, 0.9, unit="of the height"),
    instruction="flood the scene below {line} of the height and mirror the rest in the water",
)
def water_mirror(image: np.ndarray, line: float) -> np.ndarray:
    """Mirror the upper part in rippled water below a line."""
    height, width = image.shape[:2]
    x, y = grid(height, width)
    edge = line * height
    depth = np.clip(y - edge, 0, None)
    ripple = np.sin(depth / height * 90) * depth / height * 0.08 * width
    below = y > edge
    mirrored = cv2.remap(
        image,
        x + np.where(below, ripple, 0),
        np.where(below, 2 * edge - y, y),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return blend(mirrored, (30, 60, 90), np.where(below, np.float32(0.35), np.float32(0)))


@family(
    "rainbow",
    kind=KIND,
    presets=presets("radius", 0.5, 0.9, 1.3),
    radius=Parameter("radius of the bow", 0.2, 2, unit="half short sides"),
    instruction="put a rainbow of radius {radius} over the scene",
)
def rainbow(image: np.ndarray, radius: float) -> np.ndarray:
    """Draw a rainbow around the middle of the lower edge."""
    height, width = image.shape[:2]
    x, y = centred(height, width)
    away = (np.hypot(x, y - height / min(height, width)) - radius) / 0.4
    hls = np.stack(
        [np.clip(away, 0, 1) * 190, np.full_like(away, 128), np.full_like(away, 255)], -1
    ).astype(np.uint8)
    return blend(
        image,
        cv2.cvtColor(hls, cv2.COLOR_HLS2RGB_FULL),
        np.where((away > 0) & (away < 1), np.float32(0.6), np.float32(0)),
    )
