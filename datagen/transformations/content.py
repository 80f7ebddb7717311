"""Kind content: edits whose place or colour the picture itself decides."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import blend, choose, colour, disc, luma, paint, slope, warp
from datagen.transformations.blur import soften
from datagen.transformations.family import Family, presets

KIND = "content"


def _peak(field: np.ndarray) -> tuple[float, float]:
    """Place of the largest value, in shares of width and height."""
    row, column = np.unravel_index(int(field.argmax()), field.shape)
    return (column + 0.5) / field.shape[1], (row + 0.5) / field.shape[0]


def _target(image: np.ndarray, target: str) -> tuple[float, float]:
    gray = luma(image).astype(np.float32)
    if (
        choose({"brightest": 0, "darkest": 1, "busiest": 2, "most colourful": 3}, target, "target")
        < 2
    ):
        return _peak(soften(gray if target == "brightest" else 255 - gray, 4.0))
    if target == "busiest":
        return _peak(soften(slope(gray), 5.0))
    spread = image.max(-1).astype(np.float32) - image.min(-1)
    return _peak(soften(spread, 4.0))


def mark(image: np.ndarray, target: str, shade: str) -> np.ndarray:
    x, y = _target(image, target)
    return paint(image, (disc(image, x, y, 0.16, 1e-3) > 0.5), shade)


def box(image: np.ndarray, target: str, shade: str) -> np.ndarray:
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
        colour(shade),
        max(2, round(0.06 * short)),
    )


def crosshair(image: np.ndarray, target: str, shade: str) -> np.ndarray:
    height, width = image.shape[:2]
    x, y = _target(image, target)
    wide = max(1, round(0.06 * min(height, width)))
    result = cv2.line(
        image.copy(), (0, round(y * height)), (width, round(y * height)), colour(shade), wide
    )
    return cv2.line(result, (round(x * width), 0), (round(x * width), height), colour(shade), wide)


def light_on(image: np.ndarray, target: str) -> np.ndarray:
    return blend(
        image, (0, 0, 0), np.float32(0.85) * (1 - disc(image, *_target(image, target), 0.25, 0.12))
    )


def zoom_to(image: np.ndarray, target: str, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    x, y = _target(image, target)
    scale = 1 / factor
    left, top = (
        np.clip(x - scale / 2, 0, 1 - scale) * (width - 1),
        np.clip(y - scale / 2, 0, 1 - scale) * (height - 1),
    )
    return warp(image, np.array([[scale, 0, left], [0, scale, top]]))


def fill_tones(image: np.ndarray, part: str, share: float, shade: str) -> np.ndarray:
    gray = soften(luma(image), 0.8)
    if choose({"darkest": True, "brightest": False}, part, "part"):
        chosen = gray <= np.quantile(gray, share)
    else:
        chosen = gray >= np.quantile(gray, 1 - share)
    return paint(image, chosen, shade)


def recolour_dominant(image: np.ndarray, shade: str) -> np.ndarray:
    coarse = soften(image, 0.8) >> 6
    codes = (coarse[..., 0].astype(np.int64) * 4 + coarse[..., 1]) * 4 + coarse[..., 2]
    return paint(image, (codes == np.bincount(codes.ravel()).argmax()), shade)


def fill_largest(image: np.ndarray, part: str, shade: str) -> np.ndarray:
    mode = choose({"bright": cv2.THRESH_BINARY, "dark": cv2.THRESH_BINARY_INV}, part, "part")
    chosen = cv2.threshold(soften(luma(image), 0.8), 0, 255, mode | cv2.THRESH_OTSU)[1]
    count, labels, sizes, _ = cv2.connectedComponentsWithStats(chosen)
    if count < 2:
        return image.copy()
    largest = 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax())
    return paint(image, (labels == largest), shade)


def pixel_sort(image: np.ndarray, axis: str) -> np.ndarray:
    along = choose({"rows": 1, "columns": 0}, axis, "axis")
    order = np.argsort(luma(image), axis=along, kind="stable")
    return np.take_along_axis(image, order[..., None], along)


def mirror_brighter(image: np.ndarray, axis: str) -> np.ndarray:
    along = choose({"horizontal": 1, "vertical": 0}, axis, "axis")
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


def mean_frame(image: np.ndarray, width: float) -> np.ndarray:
    reach = max(1, round(width * min(image.shape[:2])))
    result = np.empty_like(image)
    result[:] = np.rint(image.mean((0, 1))).astype(np.uint8)
    result[reach:-reach, reach:-reach] = image[reach:-reach, reach:-reach]
    return result


def swap_extremes(image: np.ndarray, size: float) -> np.ndarray:
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


TARGET = {"target": "brightest, darkest, busiest or most colourful (place)"}
SHADE = {"shade": "a named colour"}
FAMILIES = (
    Family(
        "mark",
        KIND,
        True,
        {**TARGET, **SHADE},
        presets(
            "target shade",
            ("brightest", "red"),
            ("darkest", "yellow"),
            ("busiest", "green"),
            ("most colourful", "black"),
        ),
        mark,
        "put a {shade} disc on the {target} place".format,
    ),
    Family(
        "box",
        KIND,
        True,
        {**TARGET, **SHADE},
        presets(
            "target shade",
            ("brightest", "red"),
            ("darkest", "yellow"),
            ("busiest", "green"),
            ("most colourful", "white"),
        ),
        box,
        "draw a {shade} box around the {target} place".format,
    ),
    Family(
        "crosshair",
        KIND,
        True,
        {**TARGET, **SHADE},
        presets("target shade", ("brightest", "blue"), ("darkest", "white"), ("busiest", "red")),
        crosshair,
        "draw a {shade} crosshair through the {target} place".format,
    ),
    Family(
        "light_on",
        KIND,
        True,
        TARGET,
        presets("target", "brightest", "busiest", "most colourful"),
        light_on,
        "darken all but the {target} place".format,
    ),
    Family(
        "zoom_to",
        KIND,
        True,
        {**TARGET, "factor": "enlargement, 1-6"},
        presets(
            "target factor",
            ("brightest", 2.5),
            ("darkest", 2.5),
            ("busiest", 2.5),
            ("brightest", 1.7),
            ("busiest", 1.7),
        ),
        zoom_to,
        "zoom to the {target} place by a factor of {factor}".format,
    ),
    Family(
        "fill_tones",
        KIND,
        True,
        {"part": "darkest or brightest", "share": "share of the pixels, 0-1", **SHADE},
        presets(
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
        fill_tones,
        "fill the {part} {share} of the picture with {shade}".format,
    ),
    Family(
        "recolour_dominant",
        KIND,
        True,
        SHADE,
        presets("shade", "red", "green", "yellow", "magenta"),
        recolour_dominant,
        "paint the most common colour {shade}".format,
    ),
    Family(
        "fill_largest",
        KIND,
        True,
        {"part": "bright or dark", **SHADE},
        presets(
            "part shade",
            ("bright", "green"),
            ("bright", "purple"),
            ("dark", "orange"),
            ("dark", "cyan"),
        ),
        fill_largest,
        "fill the largest {part} area with {shade}".format,
    ),
    Family(
        "pixel_sort",
        KIND,
        True,
        {"axis": "rows or columns"},
        presets("axis", "rows", "columns"),
        pixel_sort,
        "sort the pixels of the {axis} from dark to bright".format,
    ),
    Family(
        "mirror_brighter",
        KIND,
        True,
        {"axis": "horizontal or vertical"},
        presets("axis", "horizontal", "vertical"),
        mirror_brighter,
        "mirror the brighter half {axis}ly onto the darker one".format,
    ),
    Family(
        "mean_frame",
        KIND,
        True,
        {"width": "share of the short side, 0.02-0.45"},
        presets("width", 0.12, 0.2, 0.3),
        mean_frame,
        "put a border of width {width} in the picture's own mean colour around it".format,
    ),
    Family(
        "swap_extremes",
        KIND,
        True,
        {"size": "share of the short side, 0.1-0.6"},
        presets("size", 0.3, 0.45),
        swap_extremes,
        "swap the squares of size {size} around the brightest and the darkest place".format,
    ),
)
