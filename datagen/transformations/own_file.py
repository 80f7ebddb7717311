"""A user's own file of families: it is run, and each family is tried on a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datagen.transformations.declaration import Family, families_in
from lorweb_bench.errors import InputError

if TYPE_CHECKING:
    from datagen.transformations.catalogue import Library

TRIAL = (48, 64)  # height and width of the picture that families are tried on


def load_families(path: str | Path) -> tuple[Family, ...]:
    """The families that a user's own Python file declares with the decorator `family`.

    The file is run. What it defines cannot be sent to another process, so each worker loads it.

    Raises:
        InputError: When the file is not there, cannot be run, declares no family, or declares one
            wrongly.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"{file} is no file; give the path of a Python file that declares families."
        )
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    loader = SourceFileLoader(f"transformation_families_{file.stem}", str(file))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    try:
        loader.exec_module(module)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except (Exception, SystemExit) as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{file} cannot be run ({cause}); mend it and try again.") from error
    families = families_in(vars(module))
    if not families:
        raise InputError(
            f"{file} declares no family; put the decorator datagen.transformations.family on a "
            "function of an image (docs/datasets.md shows one)."
        )
    return families


def try_families(file: Path, families: tuple[Family, ...], library: Library) -> None:
    """Run every preset of a file's families on a picture, as the library does.

    Raises:
        InputError: With the file's name, for what fails, for a family that changes the picture that
            it is given, and for one that is declared deterministic and gives two results.
    """
    picture = np.random.default_rng(0).integers(0, 256, (*TRIAL, 3), np.uint8)
    for family in families:
        for values in family.presets:
            try:
                spec = library.describe(family.name, values)
                first_input = picture.copy()
                first, second = (
                    library.apply(spec, first_input),
                    library.apply(spec, picture.copy()),
                )
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
            if not np.array_equal(first_input, picture):
                raise InputError(
                    f"{file}: the family {family.name!r} changes the picture that it is given; let "
                    "it work on a copy."
                )
            if family.deterministic and not np.array_equal(first, second):
                raise InputError(
                    f"{file}: the family {family.name!r} is declared deterministic and gives two "
                    "results of one picture; draw from a generator with a fixed seed, or declare "
                    "deterministic=False."
                )
