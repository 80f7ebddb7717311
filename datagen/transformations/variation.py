"""Transformations with other parameters than the presets': values drawn between and across them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datagen.transformations.declaration import SEED, Family
from lorweb_bench.errors import InputError

if TYPE_CHECKING:
    from datagen.transformations.catalogue import Library


def draw_preset(library: Library, name: str, random: np.random.Generator) -> dict[str, Any]:
    """One of a family's presets at random, described."""
    family = library.family(name)
    return library.describe(name, family.presets[int(random.integers(len(family.presets)))])


def vary(library: Library, name: str, random: np.random.Generator) -> dict[str, Any]:
    """A transformation of a family with parameters drawn at random, described.

    Numbers lie between the lowest and the highest preset, words are mixed across presets; seeds
    and what has one value alone stay. Where the family refuses the mixture, a preset is given.
    """
    family = library.family(name)
    parameters = dict(family.presets[int(random.integers(len(family.presets)))])
    varied = {key: _draw(family, key, value, random) for key, value in parameters.items()}
    try:
        return library.describe(name, varied)
    except InputError:
        return library.describe(name, parameters)


def _draw(family: Family, key: str, value: Any, random: np.random.Generator) -> Any:
    """Another value of one parameter, or the one that is given where none can be drawn."""
    parameter = family.parameters[key]
    values = [row[key] for row in family.presets if key in row]
    if parameter is SEED or parameter.length is not None:
        return value
    if parameter.low is None:
        return values[int(random.integers(len(values)))]
    low, high = min(values), max(values)
    if parameter.whole:
        return low + parameter.step * int(random.integers((high - low) // parameter.step + 1))
    return round(float(random.uniform(low, high)), 2)
