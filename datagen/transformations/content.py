"""Kind content: edits whose place or colour the picture itself decides."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import (
    AXES,
    COLOURS,
    LINES,
    NAMED_COLOUR,
    blend,
    disc,
    gradient_magnitude,
    luma,
    paint,
    warp,
)
from datagen.transformations.blur import soften
from datagen.transformations.declaration import Parameter, family, presets

KIND = "content"
TARGET = Parameter(
    "place that stands out as", choices=("brightest", "darkest", "busiest", "most colourful")
)
THRESHOLDS = {"bright": cv2.THRESH_BINARY, "dark": cv2.THRESH_BINARY_INV}


def _peak(field: np.ndarray) -> tuple[float, float]:
    """Place of the largest value, in shares of width and height."""
    row, column = np.unravel_index(int(field.argmax()), field.shape)
    return (column + 0.5) / field.shape[1], (row + 0.5) / field.shape[0]


def _target(image: np.ndarray, target: str) -> tuple[float, float]:
    gray = luma(image).astype(np.float32)
    if target == "brightest":
        return _peak(soften(gray, 4.0))
    if target == "darkest":
        return _peak(soften(255 - gray, 4.0))
    if target == "busiest":
        return _peak(soften(gradient_magnitude(gray), 5.0))
    spread = image.max(-1).astype(np.float32) - image.min(-1)
    return _peak(soften(spread, 4.0))


@family(
    "mark",
    kind=KIND,
    presets=presets(
        "target shade",
        ("brightest", "red"),
        ("darkest", "yellow"),
        ("busiest", "green"),
        ("most colourful", "black"),
    ),
    target=TARGET,
    shade=NAMED_COLOUR,
    instruction="put a {shade} disc on the {target} place",
)
def mark(image: np.ndarray, target: str, shade: str) -> np.ndarray:
    """Paint a disc on the place that stands out."""
    x, y = _target(image, target)
    return paint(image, (disc(image, x, y, 0.16, 1e-3) > 0.5), shade)


@family(
    "box",
    kind=KIND,
    presets=presets(
        "target shade",
        ("brightest", "red"),
        ("darkest", "yellow"),
        ("busiest", "green"),
        ("most colourful", "white"),
    ),
    target=TARGET,
    shade=NAMED_COLOUR,
    instruction="draw a {shade} box around the {target} place",
)
def box(image: np.ndarray, target: str, shade: str) -> np.ndarray:
    """Draw a box around the place that stands out."""
    height, width = image.shape[:2]
    x, y = _target(image, target)
    short = min(height, width)
    half = round(0.2 * short)
    left, top = (
        min(max(round(x * width), half), width - 1 - half),
        min(max(round(y * height), half), height - 1 - half),
    )
    return cv2.rectangle(
        image.copy(),
        (left - half, top - half),
        (left + half, top + half),
        COLOURS[shade],
        max(2, round(0.06 * short)),
    )


@family(
    "crosshair",
    kind=KIND,
    presets=presets(
        "target shade", ("brightest", "blue"), ("darkest", "white"), ("busiest", "red")
    ),
    target=TARGET,
    shade=NAMED_COLOUR,
    instruction="draw a {shade} crosshair through the {target} place",
)
def crosshair(image: np.ndarray, target: str, shade: str) -> np.ndarray:
    """Draw a horizontal and a vertical line through the place that stands out."""
    height, width = image.shape[:2]
    x, y = _target(image, target)
    wide = max(1, round(0.06 * min(height, width)))
    result = cv2.line(
        image.copy(), (0, round(y * height)), (width, round(y * height)), COLOURS[shade], wide
    )
    return cv2.line(result, (round(x * width), 0), (round(x * width), height), COLOURS[shade], wide)


@family(
    "light_on",
    kind=KIND,
    presets=presets("target", "brightest", "busiest", "most colourful"),
    target=TARGET,
    instruction="darken all but the {target} place",
)
def light_on(image: np.ndarray, target: str) -> np.ndarray:
    """Darken all but the place that stands out."""
    return blend(
        image, (0, 0, 0), np.float32(0.85) * (1 - disc(image, *_target(image, target), 0.25, 0.12))
    )


@family(
    "zoom_to",
    kind=KIND,
    presets=presets(
        "target factor",
        ("brightest", 2.5),
        ("darkest", 2.5),
        ("busiest", 2.5),
        ("brightest", 1.7),
        ("busiest", 1.7),
    ),
    target=TARGET,
    factor=Parameter("enlargement", 1, 6),
    instruction="zoom to the {target} place by a factor of {factor}",
)
def zoom_to(image: np.ndarray, target: str, factor: float) -> np.ndarray:
    """Enlarge the surroundings of the place that stands out."""
    height, width = image.shape[:2]
    x, y = _target(image, target)
    scale = 1 / factor
    left, top = (
        np.clip(x - scale / 2, 0, 1 - scale) * (width - 1),
        np.clip(y - scale / 2, 0, 1 - scale) * (height - 1),
    )
    return warp(image, np.array([[scale, 0, left], [0, scale, top]]))


@family(
    "fill_tones",
    kind=KIND,
    presets=presets(
        "part share shade",
        ("darkest", 0.15, "red"),
        ("darkest", 0.3, "red"),
        ("darkest", 0.5, "red"),
        ("brightest", 0.15, "blue"),
        ("brightest", 0.3, "blue"),
        ("brightest", 0.5, "blue"),
        ("darkest", 0.3, "white"),
        ("brightest", 0.3, "black"),
    ),
    part=Parameter("tones that are filled", choices=("darkest", "brightest")),
    share=Parameter("share of the pixels", 0, 1),
    shade=NAMED_COLOUR,
    instruction="fill the {part} {share} of the picture with {shade}",
)
def fill_tones(image: np.ndarray, part: str, share: float, shade: str) -> np.ndarray:
    """Paint the darkest or the brightest share of the pixels."""
    gray = soften(luma(image), 0.8)
    if part == "darkest":
        chosen = gray <= np.quantile(gray, share)
    else:
        chosen = gray >= np.quantile(gray, 1 - share)
    return paint(image, chosen, shade)


@family(
    "recolour_dominant",
    kind=KIND,
    presets=presets("shade", "red", "green", "yellow", "magenta"),
    shade=NAMED_COLOUR,
    instruction="paint the most common colour {shade}",
)
def recolour_dominant(image: np.ndarray, shade: str) -> np.ndarray:
    """Paint the most common coarse colour."""
    coarse = soften(image, 0.8) >> 6
    codes = (coarse[..., 0].astype(np.int64) * 4 + coarse[..., 1]) * 4 + coarse[..., 2]
    return paint(image, (codes == np.bincount(codes.ravel()).argmax()), shade)


@family(
    "fill_largest",
    kind=KIND,
    presets=presets(
        "part shade",
        ("bright", "green"),
        ("bright", "purple"),
        ("dark", "orange"),
        ("dark", "cyan"),
    ),
    part=Parameter("tones of the area", choices=tuple(THRESHOLDS)),
    shade=NAMED_COLOUR,
    instruction="fill the largest {part} area with {shade}",
)
def fill_largest(image: np.ndarray, part: str, shade: str) -> np.ndarray:
    """Paint the largest connected bright or dark area, by Otsu's threshold."""
    chosen = cv2.threshold(soften(luma(image), 0.8), 0, 255, THRESHOLDS[part] | cv2.THRESH_OTSU)[1]
    count, labels, sizes, _ = cv2.connectedComponentsWithStats(chosen)
    if count < 2:
        return image.copy()
    largest = 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax())
    return paint(image, (labels == largest), shade)


@family(
    "pixel_sort",
    kind=KIND,
    presets=presets("axis", "rows", "columns"),
    axis=Parameter("what is sorted", choices=("rows", "columns")),
    instruction="sort the pixels of the {axis} from dark to bright",
)
def pixel_sort(image: np.ndarray, axis: str) -> np.ndarray:
    """Sort the pixels of each row or column by luma."""
    along = 1 - LINES[axis]
    order = np.argsort(luma(image), axis=along, kind="stable")
    return np.take_along_axis(image, order[..., None], along)


@family(
    "mirror_brighter",
    kind=KIND,
    presets=presets("axis", "horizontal", "vertical"),
    axis=Parameter("direction of the mirroring", choices=tuple(AXES)),
    instruction="mirror the brighter half {axis}ly onto the darker one",
)
def mirror_brighter(image: np.ndarray, axis: str) -> np.ndarray:
    """Mirror the brighter half onto the other one."""
    along = AXES[axis]
    gray = luma(image).mean(1 - along)
    middle = len(gray) // 2
    flipped = np.flip(image, along)
    first, last = (
        (image, flipped) if gray[:middle].mean() >= gray[-middle:].mean() else (flipped, image)
    )
    index = (slice(None), slice(None, middle)) if along else (slice(None, middle), slice(None))
    result = last.copy()
    result[index] = first[index]
    return result


@family(
    "mean_frame",
    kind=KIND,
    presets=presets("width", 0.12, 0.2, 0.3),
    width=Parameter("width", 0.02, 0.45, unit="of the short side"),
    instruction="put a border of width {width} in the picture's own mean colour around it",
)
def mean_frame(image: np.ndarray, width: float) -> np.ndarray:
    """Paint a border in the picture's mean colour."""
    reach = max(1, round(width * min(image.shape[:2])))
    result = np.empty_like(image)
    result[:] = np.rint(image.mean((0, 1))).astype(np.uint8)
    result[reach:-reach, reach:-reach] = image[reach:-reach, reach:-reach]
    return result


@family(
    "swap_extremes",
    kind=KIND,
    presets=presets("size", 0.3, 0.45),
    size=Parameter("side of the squares", 0.1, 0.6, unit="of the short side"),
    instruction="swap the squares of size {size} around the brightest and the darkest place",
)
def swap_extremes(image: np.ndarray, size: float) -> np.ndarray:
    """Swap the squares around the brightest and the darkest place."""
    height, width = image.shape[:2]
    reach = max(2, round(size * min(height, width)))
    corners = []
    for target in ("brightest", "darkest"):
        x, y = _target(image, target)
        corners.append(
            (
                min(max(round(y * height) - reach // 2, 0), height - reach),
                min(max(round(x * width) - reach // 2, 0), width - reach),
            )
        )
    parts = [(slice(top, top + reach), slice(left, left + reach)) for top, left in corners]
    result = image.copy()
    result[parts[0]], result[parts[1]] = image[parts[1]], image[parts[0]]
    return result
