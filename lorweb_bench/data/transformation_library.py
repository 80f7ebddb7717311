"""Transformation libraries, found by entry point, which run a suite's transformations on images."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.runtime.plugins import installed, load_entry

GROUP = "lorweb_bench.transformations"
# An environment variable with files of families that may be run, separated as in PATH.
FAMILIES_VARIABLE = "LORWEB_BENCH_FAMILIES"


@runtime_checkable
class TransformationLibrary(Protocol):
    """Anything that runs a transformation, given by `family` and `parameters`, on an image."""

    def apply(self, spec: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
        """The transformed image: a pure function of `spec` and the uint8 array H x W x 3.

        The result has the image's height and width.
        """
        ...


def load_library(name: str | None) -> TransformationLibrary:
    """Load the library that a dataset's manifest names, from the installed entry points.

    `datagen+my_families-1a2b3c4d` is the installed library with the families of a file of that name
    and digest. The file has to be one that the variable LORWEB_BENCH_FAMILIES lists, so that a
    dataset cannot choose which code runs.

    Raises:
        InputError: None is named, installed or listed under that name.
    """
    if not name:
        raise InputError(
            "The dataset names no transformation library, so its transformations cannot be run."
        )
    libraries = installed(GROUP)
    name, plus, file = name.partition("+")
    if name not in libraries:
        raise unknown_name("transformation library", name, libraries)
    loaded = load_entry(libraries[name])()
    if not isinstance(loaded, TransformationLibrary):
        raise InputError(f"The transformation library {name!r} has no apply(spec, image).")
    return loaded.with_file(_families_file(file)) if plus else loaded  # type: ignore[attr-defined]


def file_name(path: str | Path) -> str:
    """What a manifest calls a file of families: its stem and the first 8 digits of its sha256.

    Raises:
        InputError: There is no such file.
    """
    if not Path(path).is_file():
        raise InputError(
            f"{path} is no file; a library of your own is a Python file that defines FAMILIES."
        )
    return f"{Path(path).stem}-{sha256_file(path)[:8]}"


def _families_file(name: str) -> Path:
    listed = [
        Path(path) for path in os.environ.get(FAMILIES_VARIABLE, "").split(os.pathsep) if path
    ]
    for path in listed:
        if file_name(path) == name:
            return path
    stem, _, digest = name.rpartition("-")
    there = ", ".join(map(str, listed)) or "it is empty"
    raise InputError(
        f"The dataset was made with its author's own families, the file {stem}.py (sha256 "
        f"{digest}…), and {FAMILIES_VARIABLE} does not list that very file ({there}); "
        "set it to the file's path."
    )
