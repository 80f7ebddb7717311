"""What a family of transformations is, how its presets are listed, and how ids are spelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

RANGE = re.compile(r"(-?\d+(?:\.\d+)?)(?:-| to )(-?\d+(?:\.\d+)?)")
Presets = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Family:
    """Transformations of one sort, told apart by their parameters.

    `apply(image, **parameters)` takes and gives uint8 RGB arrays of one height and width, and leaves its input untouched.
    `instruct(**parameters)` gives an imperative fragment without a full stop. `presets` stand in a natural order (weak to
    strong, by angle), so that some can be held out as new parameters. `parameters` says in words what each of them means; a
    range there, `0.2-5` or `-1 to 1`, is held to. A family is deterministic when `apply` is a pure function of image and parameters.
    """

    name: str
    kind: str
    deterministic: bool
    parameters: Mapping[str, str]
    presets: Presets
    apply: Callable[..., np.ndarray]
    instruct: Callable[..., str]


def presets(names: str, *rows: Any) -> Presets:
    """Parameter values as mappings: `names` are separated by spaces, each row is one value or a tuple of as many values.

    Without names: the one preset of a family that has no parameters.
    """
    keys = names.split()
    if not keys:
        return ({},)
    return tuple(dict(zip(keys, row if len(keys) > 1 else (row,), strict=True)) for row in rows)


def transformation_id(family: str, parameters: Mapping[str, Any]) -> str:
    """The id `[a-z0-9_-]+` of a family with parameters: `gamma-value_0p5`, minus signs as m and decimal points as p."""
    return "-".join(
        [family, *(f"{name}_{spell(value)}" for name, value in sorted(parameters.items()))]
    )


def spell(value: Any) -> str:
    """One parameter value in the letters of an id."""
    if isinstance(value, (list, tuple)):
        return "_".join(spell(item) for item in value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value).replace("-", "m").replace(".", "p").replace("+", "")
    return re.sub(r"[^a-z0-9_]+", "_", str(value).lower())


@lru_cache(maxsize=1024)
def limits(meaning: str) -> tuple[float, float] | None:
    """The range of a number in the words for a parameter, `exponent of the tone curve, 0.2-5`; None where they name none."""
    found = RANGE.search(re.sub(r" \(.*?\)", "", meaning))
    return (float(found[1]), float(found[2])) if found else None
