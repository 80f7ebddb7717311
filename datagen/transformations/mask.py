"""Kind mask: one edit in one region of the frame, another or none in the rest."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from datagen.transformations.arrays import blend, choose, colour, disc, gray3, luma, paint, unit
from datagen.transformations.blur import soften
from datagen.transformations.family import Family, presets
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
WORDS = {
    "invert": "invert",
    "gray": "turn gray",
    "blur": "blur",
    "pixelate": "pixelate",
    "darken": "darken",
    "mirror": "mirror",
}


def _edited(image: np.ndarray, edit: str, where: np.ndarray) -> np.ndarray:
    return np.where(where[..., None], choose(EDITS, edit, "edit")(image), image)


def half(image: np.ndarray, edit: str, side: str) -> np.ndarray:
    axis, later = choose(HALVES, side, "side")
    return _edited(image, edit, (unit(*image.shape[:2])[axis] >= 0.5) == later)


def diagonal_half(image: np.ndarray, edit: str, corner: str) -> np.ndarray:
    right, down = choose(
        {
            "top left": (-1, -1),
            "top right": (1, -1),
            "bottom left": (-1, 1),
            "bottom right": (1, 1),
        },
        corner,
        "corner",
    )
    x, y = unit(*image.shape[:2])
    return _edited(image, edit, (x - 0.5) * right + (y - 0.5) * down > 0)


def checks(image: np.ndarray, edit: str, cells: int) -> np.ndarray:
    x, y = unit(*image.shape[:2])
    return _edited(image, edit, (np.floor(x * cells) + np.floor(y * cells)) % 2 > 0)


def inside_circle(image: np.ndarray, edit: str, radius: float) -> np.ndarray:
    return _edited(image, edit, disc(image, 0.5, 0.5, radius, 1e-3) > 0.5)


def outside_circle(image: np.ndarray, edit: str, radius: float) -> np.ndarray:
    return _edited(image, edit, disc(image, 0.5, 0.5, radius, 1e-3) <= 0.5)


def spotlight(image: np.ndarray, x: float, y: float) -> np.ndarray:
    return blend(image, (0, 0, 0), np.float32(0.85) * (1 - disc(image, x, y, 0.28, 0.12)))


def hole(image: np.ndarray, x: float, y: float, shade: str) -> np.ndarray:
    return paint(image, (disc(image, x, y, 0.2, 1e-3) > 0.5), shade)


def bands(image: np.ndarray, edit: str, axis: str, count: int) -> np.ndarray:
    across = unit(*image.shape[:2])[choose({"columns": 0, "rows": 1}, axis, "axis")]
    return _edited(image, edit, np.floor(across * count) % 2 > 0)


def tinted_quarters(image: np.ndarray, strength: float) -> np.ndarray:
    x, y = unit(*image.shape[:2])
    shades = np.array([colour(name) for name in ("red", "green", "blue", "yellow")], np.float32)
    return blend(image, shades[(x >= 0.5) + 2 * (y >= 0.5).astype(np.int64)], strength)


def _where(verb_of: str, place: str) -> str:
    return (
        f"turn {place} gray" if verb_of == "gray" else f"{choose(WORDS, verb_of, 'edit')} {place}"
    )


def _half_words(edit: str, side: str) -> str:
    return _where(edit, f"the {side} half")


def _diagonal_words(edit: str, corner: str) -> str:
    return _where(edit, f"the {corner} diagonal half")


def _checks_words(edit: str, cells: int) -> str:
    return _where(edit, f"every other cell of a {cells} by {cells} checkerboard")


def _inside_words(edit: str, radius: float) -> str:
    return _where(edit, f"a central circle of radius {radius}")


def _outside_words(edit: str, radius: float) -> str:
    return _where(edit, f"everything outside a central circle of radius {radius}")


def _bands_words(edit: str, axis: str, count: int) -> str:
    return _where(edit, f"every other one of {count} bands of {axis}")


EDIT = {"edit": ", ".join(EDITS)}
RADIUS = {"radius": "share of the short side, 0.05-0.7"}
FAMILIES = (
    Family(
        "half",
        KIND,
        True,
        {**EDIT, "side": ", ".join(HALVES)},
        presets(
            "edit side",
            *[("invert", side) for side in HALVES],
            ("gray", "left"),
            ("gray", "top"),
            ("darken", "left"),
            ("darken", "right"),
            ("pixelate", "top"),
            ("pixelate", "bottom"),
        ),
        half,
        _half_words,
    ),
    Family(
        "diagonal_half",
        KIND,
        True,
        {**EDIT, "corner": "top left, top right, bottom left or bottom right"},
        presets(
            "edit corner",
            ("invert", "top left"),
            ("invert", "top right"),
            ("invert", "bottom left"),
            ("invert", "bottom right"),
            ("darken", "top left"),
            ("darken", "bottom right"),
        ),
        diagonal_half,
        _diagonal_words,
    ),
    Family(
        "checks",
        KIND,
        True,
        {**EDIT, "cells": "cells along each side, 2-16"},
        presets("edit cells", ("invert", 2), ("invert", 4), ("invert", 6), ("mirror", 4)),
        checks,
        _checks_words,
    ),
    Family(
        "inside_circle",
        KIND,
        True,
        {**EDIT, **RADIUS},
        presets(
            "edit radius",
            ("invert", 0.2),
            ("invert", 0.3),
            ("invert", 0.42),
            ("pixelate", 0.42),
            ("darken", 0.3),
            ("mirror", 0.42),
        ),
        inside_circle,
        _inside_words,
    ),
    Family(
        "outside_circle",
        KIND,
        True,
        {**EDIT, **RADIUS},
        presets(
            "edit radius",
            ("invert", 0.2),
            ("invert", 0.35),
            ("gray", 0.3),
            ("blur", 0.3),
            ("pixelate", 0.3),
            ("darken", 0.4),
        ),
        outside_circle,
        _outside_words,
    ),
    Family(
        "spotlight",
        KIND,
        True,
        {"x": "share of the width, 0-1", "y": "share of the height, 0-1"},
        presets("x y", (0.5, 0.5), (0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7)),
        spotlight,
        "darken all but a spotlight at {x} of the width and {y} of the height".format,
    ),
    Family(
        "hole",
        KIND,
        True,
        {
            "x": "share of the width, 0-1",
            "y": "share of the height, 0-1",
            "shade": "a named colour",
        },
        presets(
            "x y shade",
            (0.5, 0.5, "black"),
            (0.3, 0.3, "black"),
            (0.7, 0.7, "black"),
            (0.5, 0.5, "white"),
            (0.3, 0.7, "white"),
        ),
        hole,
        "punch a {shade} hole at {x} of the width and {y} of the height".format,
    ),
    Family(
        "bands",
        KIND,
        True,
        {**EDIT, "axis": "columns or rows", "count": "bands, 2-16"},
        presets(
            "edit axis count",
            ("invert", "columns", 3),
            ("invert", "columns", 6),
            ("invert", "rows", 3),
            ("invert", "rows", 6),
            ("mirror", "rows", 8),
            ("darken", "columns", 6),
        ),
        bands,
        _bands_words,
    ),
    Family(
        "tinted_quarters",
        KIND,
        True,
        {"strength": "share of the colours, 0-1"},
        presets("strength", 0.35, 0.6),
        tinted_quarters,
        "tint the quarters red, green, blue and yellow with strength {strength}".format,
    ),
)
