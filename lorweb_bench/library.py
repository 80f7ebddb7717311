"""Transformation libraries, found by entry point: what runs a suite's transformations on an image."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.registry import installed, load_entry, unknown_name

GROUP = "lorweb_bench.transformations"


@runtime_checkable
class TransformationLibrary(Protocol):
    """Anything that runs a transformation: `spec` has `family` and `parameters`, the image is uint8 H x W x 3."""

    def apply(self, spec: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
        """A pure function of the two; the result has the image's height and width."""
        ...


def load_library(name: str | None) -> TransformationLibrary:
    """Load the library that a dataset's manifest names, from the entry points in `lorweb_bench.transformations`.

    InputError when none is named or installed under that name.
    """
    if not name:
        raise InputError("The dataset names no transformation library, so its transformations cannot be run.")
    libraries = installed(GROUP)
    if name not in libraries:
        raise unknown_name("transformation library", name, libraries)
    loaded = load_entry(libraries[name])()
    if not isinstance(loaded, TransformationLibrary):
        raise InputError(f"The transformation library {name!r} has no apply(spec, image).")
    return loaded
