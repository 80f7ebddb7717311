"""The transformations that turn a photograph into its edited self: families, their presets and the library that holds them."""

from functools import cache

from datagen.transformations.catalogue import Library
from datagen.transformations.family import Family
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
    """The project's own transformations; OpenCV is imported on the first call, and the library is built once per process."""
    from importlib import import_module

    modules = [import_module(f"datagen.transformations.{name}") for name in KIND_MODULES]
    return Library(family for module in modules for family in module.FAMILIES)


__all__ = ["KIND_MODULES", "Family", "Library", "library", "load_families"]
