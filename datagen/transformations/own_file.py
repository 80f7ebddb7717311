"""A user's own file of families: run, and each family tried on a picture before anything is built with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datagen.transformations.family import Family
from lorweb_bench.errors import InputError

TRIAL = (48, 64)  # height and width of the picture that families are tried on


def load_families(path: str | Path) -> tuple[Family, ...]:
    """The families of a user's own Python file, which defines FAMILIES, a sequence of Family.

    The file is run, and what it defines cannot be sent to another process: each worker loads the file itself. A file that
    cannot be found or run, that defines no such sequence, or with a family that does not keep what it declares, is an InputError.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"{file} is no file; give the path of a Python file that defines FAMILIES."
        )
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    loader = SourceFileLoader(f"transformation_families_{file.stem}", str(file))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{file} cannot be run ({type(error).__name__}: {' '.join(str(error).split())}); mend it and try again."
        ) from error
    families = getattr(module, "FAMILIES", None)
    if (
        not isinstance(families, (list, tuple))
        or not families
        or not all(isinstance(item, Family) for item in families)
    ):
        raise InputError(
            f"{file} defines no FAMILIES; set FAMILIES to a tuple of datagen.transformations.Family."
        )
    for family in families:
        _check_fields(file, family)
    return tuple(families)


def _check_fields(file: Path, family: Family) -> None:
    """InputError for a field of a family that has another type than it needs."""
    wrong = {
        "name": not isinstance(family.name, str),
        "kind": not isinstance(family.kind, str) or not family.kind,
        "deterministic": not isinstance(family.deterministic, bool),
        "parameters": not isinstance(family.parameters, Mapping),
        "presets": not isinstance(family.presets, (list, tuple))
        or not all(isinstance(one, Mapping) for one in family.presets),
        "apply": not callable(family.apply),
        "instruct": not callable(family.instruct),
    }
    if found := next((name for name, bad in wrong.items() if bad), None):
        raise InputError(
            f"{file}: the family {family.name!r} has a wrong {found}, {getattr(family, found)!r}; name and kind are text, deterministic is "
            "True or False, parameters say in words what each means, presets are mappings, apply and instruct are functions."
        )


def try_families(file: Path, families: tuple[Family, ...], library: Any) -> None:
    """Run every preset of a file's families on a picture, as `library` does; InputError, naming the file, for what fails.

    A family that changes the picture that it is given, or is declared deterministic and gives two results, is an InputError too.
    """
    picture = np.random.default_rng(0).integers(0, 256, (*TRIAL, 3), np.uint8)
    for family in families:
        for values in family.presets:
            try:
                spec = library.describe(family.name, values)
                given = picture.copy()
                first, second = library.apply(spec, given), library.apply(spec, picture.copy())
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
            if not np.array_equal(given, picture):
                raise InputError(
                    f"{file}: the family {family.name!r} changes the picture that it is given; let it work on a copy."
                )
            if family.deterministic and not np.array_equal(first, second):
                raise InputError(
                    f"{file}: the family {family.name!r} is declared deterministic and gives two results of one picture; draw from a "
                    "generator with a fixed seed, or declare deterministic=False."
                )
