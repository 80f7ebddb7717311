"""The transformations that turn a photograph into its edited self, and the library of them."""

from functools import cache

from datagen.transformations.catalogue import Library
from datagen.transformations.declaration import (
    Below,
    Family,
    Parameter,
    families_in,
    family,
    presets,
)
from datagen.transformations.own_file import load_families

KIND_MODULES = (
    "colour",
    "tone",
    "geometry",
    "blur",
    "edges",
    "dither",
    "mosaic",
    "painterly",
    "noise",
    "weather",
    "frame",
    "overlay",
    "mask",
    "content",
)


@cache
def library() -> Library:
    """The project's own transformations, built once per process.

    OpenCV is imported on the first call.

    >>> library().describe("rotate", {"degrees": 90})["instruction"]
    'rotate the picture clockwise by 90 degrees'
    """
    from importlib import import_module

    modules = [import_module(f"datagen.transformations.{name}") for name in KIND_MODULES]
    return Library(family for module in modules for family in families_in(vars(module)))


__all__ = [
    "KIND_MODULES",
    "Below",
    "Family",
    "Library",
    "Parameter",
    "families_in",
    "family",
    "library",
    "load_families",
    "presets",
]
