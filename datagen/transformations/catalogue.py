"""The library: families by name, descriptions and compositions of them, and running them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datagen.transformations.declaration import Family, Lengths, transformation_id
from datagen.transformations.displacement import displacement
from datagen.transformations.own_file import load_families, try_families
from datagen.transformations.variation import draw_preset, vary
from lorweb_bench.data.composition import (
    joined_family,
    joined_id,
    joined_instruction,
    steps_of,
)
from lorweb_bench.errors import InputError, unknown_name


class Library:
    """Families of transformations by name.

    A transformation is named by a mapping with `family` and `parameters`, as `describe` gives it.

    Args:
        families: The families, in the order that `singles` lists them.
        lengths: How instructions tell lengths that grow with the image: in `shares` of its short
            side, or in `pixels` at a short side of 64.

    Raises:
        InputError: When a name occurs twice, or when an id cannot spell it.
    """

    def __init__(self, families: Iterable[Family], lengths: Lengths = "shares") -> None:
        """Hold the families in their order."""
        self.families: Mapping[str, Family] = _by_name(families)
        self.lengths = lengths

    def extended(self, families: Iterable[Family]) -> Library:
        """A library with further families; a name that is taken already is an InputError."""
        return Library([*self.families.values(), *families], self.lengths)

    def telling(self, lengths: Lengths) -> Library:
        """The same families, with instructions that tell lengths in this way."""
        return Library(self.families.values(), lengths)

    def with_file(self, path: str | Path) -> Library:
        """A library with the families of a user's own file, each tried on a picture.

        Args:
            path: A Python file; see `load_families`.

        Raises:
            InputError: When the file has no families, or one that does not do what it declares, or
                one whose name is taken.
        """
        new_families = load_families(path)
        if duplicate := next(
            (family.name for family in new_families if family.name in self.families), None
        ):
            raise InputError(
                f"{path}: the family {duplicate!r} is in the library already; rename yours."
            )
        try:
            library = self.extended(new_families)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        try_families(Path(path), new_families, library)
        return library

    def apply(self, spec: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
        """An image transformed, as a new array of the same shape.

        Args:
            spec: A mapping with `family` and `parameters`, which may hold more. A composition has
                its parts as `parameters["steps"]`.
            image: uint8 RGB, height x width x 3.

        Raises:
            InputError: For a family that there is not, and for parameters that the family does not
                take or cannot run with.
            ValueError: When the image is of another type or shape.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"a uint8 array of height x width x 3 is needed, not {image.dtype} {image.shape}"
            )
        result = image
        for step in steps_of(spec):
            result = _run(self.family(step["family"]), step["parameters"], result)
        if np.may_share_memory(result, image):
            return np.array(result, order="C")
        return np.ascontiguousarray(result)

    def family(self, name: str) -> Family:
        """The family of a name; for one that there is not, an InputError with the nearest name."""
        if name in self.families:
            return self.families[name]
        raise unknown_name("transformation family", name, self.families)

    def describe(self, family: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a manifest says of one transformation.

        Returns:
            Its id, family, kind, parameters, instruction and deterministic, as JSON values.

        Raises:
            InputError: For a family that there is not, and for parameters that it does not take.
        """
        declared = self.family(family)
        parameters = declared.read(parameters)
        return {
            "id": transformation_id(family, parameters),
            "family": family,
            "kind": declared.kind,
            "parameters": parameters,
            "instruction": _instruction(declared, parameters, self.lengths),
            "deterministic": declared.deterministic,
        }

    def compose(self, *specs: Mapping[str, Any]) -> dict[str, Any]:
        """The description of two or more transformations that run one after the other.

        Args:
            *specs: Mappings with `family` and `parameters`; compositions count as their steps.
        """
        steps = [step for spec in specs for step in steps_of(spec)]
        described = [self.describe(step["family"], step["parameters"]) for step in steps]
        kinds = {part["kind"] for part in described}
        named = [{"family": part["family"], "parameters": part["parameters"]} for part in described]
        return {
            "id": joined_id(part["id"] for part in described),
            "family": joined_family(part["family"] for part in described),
            "kind": kinds.pop() if len(kinds) == 1 else "composition",
            "parameters": {"steps": named},
            "instruction": joined_instruction(part["instruction"] for part in described),
            "deterministic": all(part["deterministic"] for part in described),
        }

    def singles(self) -> dict[str, dict[str, Any]]:
        """Every preset of every deterministic family, described, by id.

        They stand in the order of families and presets.
        """
        described = [
            self.describe(family.name, values)
            for family in self.families.values()
            if family.deterministic
            for values in family.presets
        ]
        return {item["id"]: item for item in described}

    def draw_preset(self, family: str, random: np.random.Generator) -> dict[str, Any]:
        """One of a family's presets at random, described."""
        return draw_preset(self, family, random)

    def vary(self, family: str, random: np.random.Generator) -> dict[str, Any]:
        """A family with parameters drawn between and across its presets, described."""
        return vary(self, family, random)

    def displacement(
        self, spec: Mapping[str, Any] | None, side: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """How far the pixels of a square result have come, and where that is known.

        See `datagen.transformations.displacement.displacement`.
        """
        return displacement(self, spec, side)


def _by_name(families: Iterable[Family]) -> dict[str, Family]:
    named: dict[str, Family] = {}
    for family in families:
        if family.name in named:
            raise InputError(
                f"Two transformation families are called {family.name!r}; rename one of them."
            )
        if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", family.name):
            raise InputError(
                f"The transformation family {family.name!r} needs a snake_case name of a-z, 0-9 "
                "and single _."
            )
        named[family.name] = family
    return named


def _run(family: Family, parameters: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
    parameters = family.read(parameters)
    try:
        result = family.apply(image, **parameters)
    except InputError:
        raise
    except Exception as error:  # a fault in a user's own family: the cause stays attached
        raise InputError(
            f"The family {family.name!r} cannot run with {parameters} on "
            f"{image.shape[1]} x {image.shape[0]} pixels ({_in_one_line(error)})."
        ) from error
    if not isinstance(result, np.ndarray):
        result_words = f"no array but {type(result).__name__}"
    elif result.shape != image.shape or result.dtype != np.uint8:
        result_words = f"{result.dtype} {result.shape}"
    else:
        return result
    raise InputError(
        f"The family {family.name!r} gave {result_words}; it must give uint8 {image.shape}."
    )


def _instruction(family: Family, parameters: Mapping[str, Any], lengths: Lengths) -> str:
    try:
        text = family.words(parameters, lengths)
    except Exception as error:
        raise InputError(
            f"The family {family.name!r} has no words for {dict(parameters)} "
            f"({_in_one_line(error)}); see its instruction."
        ) from error
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f"The family {family.name!r} gives {text!r} for words; its instruction must give text."
        )
    return re.sub(r"\ba (?=orange\b)", "an ", text)  # the one named colour that needs it


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
