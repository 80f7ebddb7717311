"""Kind mask: one edit in one region of the frame, another or none in the rest."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from datagen.transformations.arrays import (
    COLOURS,
    CORNERS,
    LINE,
    LINES,
    NAMED_COLOUR,
    blend,
    disc,
    gray3,
    luma,
    over_channels,
    paint,
    unit,
)
from datagen.transformations.blur import soften
from datagen.transformations.declaration import Parameter, family, presets
from datagen.transformations.mosaic import pixelate

KIND = "mask"
HALVES = {"left": (0, False), "right": (0, True), "top": (1, False), "bottom": (1, True)}
EDITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "invert": cv2.bitwise_not,
    "gray": lambda image: gray3(luma(image)),
    "blur": lambda image: soften(image, 4.0),
    "pixelate": lambda image: pixelate(image, 8),
    "darken": lambda image: (image * np.float32(0.25)).astype(np.uint8),
    "mirror": lambda image: np.ascontiguousarray(image[:, ::-1]),
}
EDIT = Parameter("what is done there", choices=tuple(EDITS))
RADIUS = Parameter("radius of the circle", 0.05, 0.7, unit="of the short side")


def _where(edit: str, place: str) -> str:
    return f"turn {place} gray" if edit == "gray" else f"{edit} {place}"


def _edited(image: np.ndarray, edit: str, where: np.ndarray) -> np.ndarray:
    return np.where(over_channels(where), EDITS[edit](image), image)


def _half_words(edit: str, side: str) -> str:
    return _where(edit, f"the {side} half")


@family(
    "half",
    kind=KIND,
    presets=presets(
        "edit side",
        *[("invert", side) for side in HALVES],
        ("gray", "left"),
        ("gray", "top"),
        ("darken", "left"),
        ("darken", "right"),
        ("pixelate", "top"),
        ("pixelate", "bottom"),
    ),
    edit=EDIT,
    side=Parameter("half that is edited", choices=tuple(HALVES)),
    instruction=_half_words,
)
def half(image: np.ndarray, edit: str, side: str) -> np.ndarray:
    """Edit one half."""
    axis, later = HALVES[side]
    return _edited(image, edit, (unit(*image.shape[:2])[axis] >= 0.5) == later)


def _diagonal_words(edit: str, corner: str) -> str:
    return _where(edit, f"the {corner} diagonal half")


@family(
    "diagonal_half",
    kind=KIND,
    presets=presets(
        "edit corner",
        ("invert", "top left"),
        ("invert", "top right"),
        ("invert", "bottom left"),
        ("invert", "bottom right"),
        ("darken", "top left"),
        ("darken", "bottom right"),
    ),
    edit=EDIT,
    corner=Parameter("corner of the half that is edited", choices=tuple(CORNERS)),
    instruction=_diagonal_words,
)
def diagonal_half(image: np.ndarray, edit: str, corner: str) -> np.ndarray:
    """Edit the half on one side of a diagonal line."""
    right, down = (2 * share - 1 for share in CORNERS[corner])
    x, y = unit(*image.shape[:2])
    return _edited(image, edit, (x - 0.5) * right + (y - 0.5) * down > 0)


def _checks_words(edit: str, cells: int) -> str:
    return _where(edit, f"every other cell of a {cells} by {cells} checkerboard")


@family(
    "checks",
    kind=KIND,
    presets=presets("edit cells", ("invert", 2), ("invert", 4), ("invert", 6), ("mirror", 4)),
    edit=EDIT,
    cells=Parameter("cells along each side", 2, 16, whole=True),
    instruction=_checks_words,
)
def checks(image: np.ndarray, edit: str, cells: int) -> np.ndarray:
    """Edit every other cell of a checkerboard."""
    x, y = unit(*image.shape[:2])
    return _edited(image, edit, (np.floor(x * cells) + np.floor(y * cells)) % 2 > 0)


def _inside_words(edit: str, radius: float) -> str:
    return _where(edit, f"a central circle of radius {radius}")


@family(
    "inside_circle",
    kind=KIND,
    presets=presets(
        "edit radius",
        ("invert", 0.2),
        ("invert", 0.3),
        ("invert", 0.42),
        ("pixelate", 0.42),
        ("darken", 0.3),
        ("mirror", 0.42),
    ),
    edit=EDIT,
    radius=RADIUS,
    instruction=_inside_words,
)
def inside_circle(image: np.ndarray, edit: str, radius: float) -> np.ndarray:
    """Edit a disc in the middle."""
    return _edited(image, edit, disc(image, 0.5, 0.5, radius, 1e-3) > 0.5)


def _outside_words(edit: str, radius: float) -> str:
    return _where(edit, f"everything outside a central circle of radius {radius}")


@family(
    "outside_circle",
    kind=KIND,
    presets=presets(
        "edit radius",
        ("invert", 0.2),
        ("invert", 0.35),
        ("gray", 0.3),
        ("blur", 0.3),
        ("pixelate", 0.3),
        ("darken", 0.4),
    ),
    edit=EDIT,
    radius=RADIUS,
    instruction=_outside_words,
)
def outside_circle(image: np.ndarray, edit: str, radius: float) -> np.ndarray:
    """Edit all but a disc in the middle."""
    return _edited(image, edit, disc(image, 0.5, 0.5, radius, 1e-3) <= 0.5)


@family(
    "spotlight",
    kind=KIND,
    presets=presets("x y", (0.5, 0.5), (0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7)),
    x=Parameter("place from the left", 0, 1, unit="of the width"),
    y=Parameter("place from above", 0, 1, unit="of the height"),
    instruction="darken all but a spotlight at {x} of the width and {y} of the height",
)
def spotlight(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Darken all but a soft disc."""
    return blend(image, (0, 0, 0), np.float32(0.85) * (1 - disc(image, x, y, 0.28, 0.12)))


@family(
    "hole",
    kind=KIND,
    presets=presets(
        "x y shade",
        (0.5, 0.5, "black"),
        (0.3, 0.3, "black"),
        (0.7, 0.7, "black"),
        (0.5, 0.5, "white"),
        (0.3, 0.7, "white"),
    ),
    x=Parameter("place from the left", 0, 1, unit="of the width"),
    y=Parameter("place from above", 0, 1, unit="of the height"),
    shade=NAMED_COLOUR,
    instruction="punch a {shade} hole at {x} of the width and {y} of the height",
)
def hole(image: np.ndarray, x: float, y: float, shade: str) -> np.ndarray:
    """Paint a disc."""
    return paint(image, (disc(image, x, y, 0.2, 1e-3) > 0.5), shade)


def _bands_words(edit: str, axis: str, count: int) -> str:
    return _where(edit, f"every other one of {count} bands of {axis}")


@family(
    "bands",
    kind=KIND,
    presets=presets(
        "edit axis count",
        ("invert", "columns", 3),
        ("invert", "columns", 6),
        ("invert", "rows", 3),
        ("invert", "rows", 6),
        ("mirror", "rows", 8),
        ("darken", "columns", 6),
    ),
    edit=EDIT,
    axis=LINE,
    count=Parameter("number of bands", 2, 16, whole=True),
    instruction=_bands_words,
)
def bands(image: np.ndarray, edit: str, axis: str, count: int) -> np.ndarray:
    """Edit every other one of some bands."""
    across = unit(*image.shape[:2])[1 - LINES[axis]]
    return _edited(image, edit, np.floor(across * count) % 2 > 0)


@family(
    "tinted_quarters",
    kind=KIND,
    presets=presets("strength", 0.35, 0.6),
    strength=Parameter("share of the colours", 0, 1),
    instruction="tint the quarters red, green, blue and yellow with strength {strength}",
)
def tinted_quarters(image: np.ndarray, strength: float) -> np.ndarray:
    """Tint each quarter with a colour of its own."""
    x, y = unit(*image.shape[:2])
    shades = np.array([COLOURS[name] for name in ("red", "green", "blue", "yellow")], np.float32)
    return blend(image, shades[(x >= 0.5) + 2 * (y >= 0.5).astype(np.int64)], strength)
