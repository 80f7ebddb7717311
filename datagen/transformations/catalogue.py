"""The library: families by name, descriptions and compositions of them, and running them on images."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datagen.transformations.family import Family, transformation_id
from lorweb_bench.errors import InputError


class Library:
    """Families by name. A transformation is named by a mapping with `family` and `parameters`, as `describe` gives it."""

    def __init__(self, families: Iterable[Family]) -> None:
        """Holds the families in their order; refuses names that occur twice or that an id cannot spell (InputError)."""
        self.families: Mapping[str, Family] = _by_name(families)

    def extended(self, families: Iterable[Family]) -> Library:
        """A library with further families; a name that is taken already is an InputError."""
        return Library([*self.families.values(), *families])

    def with_file(self, path: str | Path) -> Library:
        """A library with the families of a user's own file; see `load_families`."""
        return self.extended(load_families(path))

    def apply(self, spec: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
        """The image (uint8 H x W x 3) transformed, as a new array of the same shape.

        `spec` needs `family` and `parameters`, and may hold more; a composition holds its parts as `parameters["steps"]`.
        An unknown family, and parameters that the family does not take or cannot run with, are InputErrors.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"a uint8 array of height x width x 3 is needed, not {image.dtype} {image.shape}")
        result = image
        for step in steps(spec):
            result = _run(self.family(step["family"]), step["parameters"], result)
        return np.array(result, order="C") if np.may_share_memory(result, image) else np.ascontiguousarray(result)

    def family(self, name: str) -> Family:
        """The family of a name; an unknown one is an InputError with the nearest name."""
        if name in self.families:
            return self.families[name]
        near = difflib.get_close_matches(str(name), self.families, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.families)}."
        raise InputError(f"No transformation family is called {name!r}; {hint}")

    def describe(self, family: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Id, family, kind, parameters, instruction and deterministic of one transformation (JSON values)."""
        known = self.family(family)
        _check_parameters(known, parameters)
        return {
            "id": transformation_id(family, parameters),
            "family": family,
            "kind": known.kind,
            "parameters": dict(parameters),
            "instruction": re.sub(r"\ba (?=orange\b)", "an ", known.instruct(**parameters)),  # the one colour that needs it
            "deterministic": known.deterministic,
        }

    def compose(self, *specs: Mapping[str, Any]) -> dict[str, Any]:
        """The description of doing two or more transformations one after the other, each given by family and parameters."""
        described = [self.describe(part["family"], part["parameters"]) for spec in specs for part in steps(spec)]
        kinds = {part["kind"] for part in described}
        return {
            "id": "__".join(part["id"] for part in described),
            "family": "+".join(part["family"] for part in described),
            "kind": kinds.pop() if len(kinds) == 1 else "composition",
            "parameters": {"steps": [{"family": part["family"], "parameters": part["parameters"]} for part in described]},
            "instruction": ", then ".join(part["instruction"] for part in described),
            "deterministic": all(part["deterministic"] for part in described),
        }

    def singles(self) -> dict[str, dict[str, Any]]:
        """Every preset of every deterministic family, described, by id, in the order of families and presets."""
        families = [family for family in self.families.values() if family.deterministic]
        described = [self.describe(family.name, values) for family in families for values in family.presets]
        return {item["id"]: item for item in described}


def steps(spec: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The single transformations that a transformation is made of, in order: itself, or the steps of a composition."""
    if "+" in spec["family"]:
        parts: Sequence[Mapping[str, Any]] = spec["parameters"]["steps"]
        return parts
    return [{"family": spec["family"], "parameters": spec.get("parameters") or {}}]


def load_families(path: str | Path) -> tuple[Family, ...]:
    """The families of a user's own Python file, which defines FAMILIES, a sequence of Family.

    The file is run, and what it defines cannot be sent to another process: each worker loads the file itself. A file that
    cannot be found or run, or that defines no such sequence, is an InputError.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file} is no file; give the path of a Python file that defines FAMILIES.")
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    loader = SourceFileLoader(f"transformation_families_{file.stem}", str(file))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    try:
        loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{file} cannot be run ({type(error).__name__}: {error}); mend it and try again.") from error
    families = getattr(module, "FAMILIES", None)
    if not isinstance(families, (list, tuple)) or not families or not all(isinstance(item, Family) for item in families):
        raise InputError(f"{file} defines no FAMILIES; set FAMILIES to a tuple of datagen.transformations.Family.")
    return tuple(families)


def _by_name(families: Iterable[Family]) -> dict[str, Family]:
    named: dict[str, Family] = {}
    for family in families:
        if family.name in named:
            raise InputError(f"Two transformation families are called {family.name!r}; rename one of them.")
        if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", family.name):
            raise InputError(f"The transformation family {family.name!r} needs a snake_case name of a-z, 0-9 and single _.")
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
            f"({type(error).__name__}: {error}); give {_meanings(family)}."
        ) from error
    if result.shape != image.shape or result.dtype != np.uint8:
        raise InputError(f"The family {family.name!r} gave {result.dtype} {result.shape}; it must give uint8 {image.shape}.")
    return result


def _meanings(family: Family) -> str:
    return ", ".join(f"{name} ({meaning})" for name, meaning in family.parameters.items()) or "no parameters"


def _check_parameters(family: Family, parameters: Mapping[str, Any]) -> None:
    try:
        inspect.signature(family.apply).bind(None, **parameters)
    except TypeError as error:
        given = ", ".join(parameters) or "no parameters"
        raise InputError(f"The family {family.name!r} takes {_meanings(family)}; given were {given} ({error}).") from None
