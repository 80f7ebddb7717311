"""The library: families by name, descriptions and compositions of them, and running them on images."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datagen.transformations.family import Family, limits, transformation_id
from datagen.transformations.own_file import load_families, try_families
from lorweb_bench.data.composition import joined_family, joined_id, steps_of
from lorweb_bench.errors import InputError, unknown_name


class Library:
    """Families by name. A transformation is named by a mapping with `family` and `parameters`, as `describe` gives it."""

    def __init__(self, families: Iterable[Family]) -> None:
        """Holds the families in their order; refuses names that occur twice or that an id cannot spell (InputError)."""
        self.families: Mapping[str, Family] = _by_name(families)

    def extended(self, families: Iterable[Family]) -> Library:
        """A library with further families; a name that is taken already is an InputError."""
        return Library([*self.families.values(), *families])

    def with_file(self, path: str | Path) -> Library:
        """A library with the families of a user's own file, each tried on a picture; see `load_families`."""
        own = load_families(path)
        if taken := next((family.name for family in own if family.name in self.families), None):
            raise InputError(
                f"{path}: the family {taken!r} is in the library already; rename yours."
            )
        try:
            library = self.extended(own)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        try_families(Path(path), own, library)
        return library

    def apply(self, spec: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
        """The image (uint8 H x W x 3) transformed, as a new array of the same shape.

        `spec` needs `family` and `parameters`, and may hold more; a composition holds its parts as `parameters["steps"]`.
        An unknown family, and parameters that the family does not take or cannot run with, are InputErrors.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"a uint8 array of height x width x 3 is needed, not {image.dtype} {image.shape}"
            )
        result = image
        for step in steps_of(spec):
            result = _run(self.family(step["family"]), step["parameters"], result)
        return (
            np.array(result, order="C")
            if np.may_share_memory(result, image)
            else np.ascontiguousarray(result)
        )

    def family(self, name: str) -> Family:
        """The family of a name; an unknown one is an InputError with the nearest name."""
        if name in self.families:
            return self.families[name]
        raise unknown_name("transformation family", name, self.families)

    def describe(self, family: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Id, family, kind, parameters, instruction and deterministic of one transformation (JSON values).

        An unknown family, and parameters that it does not take or that lie outside of the ranges that it documents, are InputErrors.
        """
        known = self.family(family)
        parameters = {name: _plain(known, name, value) for name, value in parameters.items()}
        _check_parameters(known, parameters)
        _check_ranges(known, parameters)
        return {
            "id": transformation_id(family, parameters),
            "family": family,
            "kind": known.kind,
            "parameters": parameters,
            "instruction": re.sub(
                r"\ba (?=orange\b)", "an ", _instruction(known, parameters)
            ),  # the one colour that needs it
            "deterministic": known.deterministic,
        }

    def compose(self, *specs: Mapping[str, Any]) -> dict[str, Any]:
        """The description of doing two or more transformations one after the other, each given by family and parameters."""
        described = [
            self.describe(part["family"], part["parameters"])
            for spec in specs
            for part in steps_of(spec)
        ]
        kinds = {part["kind"] for part in described}
        return {
            "id": joined_id(part["id"] for part in described),
            "family": joined_family(part["family"] for part in described),
            "kind": kinds.pop() if len(kinds) == 1 else "composition",
            "parameters": {
                "steps": [
                    {"family": part["family"], "parameters": part["parameters"]}
                    for part in described
                ]
            },
            "instruction": ", then ".join(part["instruction"] for part in described),
            "deterministic": all(part["deterministic"] for part in described),
        }

    def singles(self) -> dict[str, dict[str, Any]]:
        """Every preset of every deterministic family, described, by id, in the order of families and presets."""
        families = [family for family in self.families.values() if family.deterministic]
        described = [
            self.describe(family.name, values) for family in families for values in family.presets
        ]
        return {item["id"]: item for item in described}


def _by_name(families: Iterable[Family]) -> dict[str, Family]:
    named: dict[str, Family] = {}
    for family in families:
        if family.name in named:
            raise InputError(
                f"Two transformation families are called {family.name!r}; rename one of them."
            )
        if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", family.name):
            raise InputError(
                f"The transformation family {family.name!r} needs a snake_case name of a-z, 0-9 and single _."
            )
        named[family.name] = family
    return named


def _run(family: Family, parameters: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
    _check_parameters(family, parameters)
    try:
        result = family.apply(image, **parameters)
    except InputError:
        raise
    except Exception as error:
        # A value of the wrong type or out of range, or a fault in a user's own family: the cause stays attached.
        raise InputError(
            f"The family {family.name!r} cannot run with {dict(parameters)} on {image.shape[1]} x {image.shape[0]} px "
            f"({_told(error)}); give {_meanings(family)}."
        ) from error
    if (
        not isinstance(result, np.ndarray)
        or result.shape != image.shape
        or result.dtype != np.uint8
    ):
        given = (
            f"{result.dtype} {result.shape}"
            if isinstance(result, np.ndarray)
            else f"no array but {type(result).__name__}"
        )
        raise InputError(
            f"The family {family.name!r} gave {given}; it must give uint8 {image.shape}."
        )
    return result


def _meanings(family: Family) -> str:
    return (
        ", ".join(f"{name} ({meaning})" for name, meaning in family.parameters.items())
        or "no parameters"
    )


def _check_parameters(family: Family, parameters: Mapping[str, Any]) -> None:
    try:
        inspect.signature(family.apply).bind(None, **parameters)
    except TypeError as error:
        given = ", ".join(parameters) or "no parameters"
        raise InputError(
            f"The family {family.name!r} takes {_meanings(family)}; given were {given} ({error})."
        ) from None


def _check_ranges(family: Family, parameters: Mapping[str, Any]) -> None:
    """InputError for a number outside of the range that the family documents for it."""
    for name, value in parameters.items():
        if (bounds := limits(family.parameters.get(name, ""))) is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not bounds[0] <= value <= bounds[1]:
            raise InputError(
                f"The family {family.name!r} takes {_meanings(family)}; {name} was {value!r}."
            )


def _plain(family: Family, name: str, value: Any) -> Any:
    """A parameter's value as JSON knows it: numpy's numbers as Python's; InputError for what is no JSON."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(family, name, item) for item in value)
    if (
        value is None
        or isinstance(value, (str, int))
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise InputError(
        f"The family {family.name!r} cannot have {name} = {value!r}: parameters are numbers, text, or lists of them."
    )


def _instruction(family: Family, parameters: Mapping[str, Any]) -> str:
    try:
        text = family.instruct(**parameters)
    except Exception as error:
        raise InputError(
            f"The family {family.name!r} has no words for {dict(parameters)} ({_told(error)}); see its instruct."
        ) from error
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f"The family {family.name!r} gives {text!r} for words; its instruct must give text."
        )
    return text


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
