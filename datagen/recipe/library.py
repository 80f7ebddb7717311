"""The library of transformations that a recipe names, and what a manifest calls it."""

from functools import lru_cache

from datagen.transformations import library as built_in
from datagen.transformations.catalogue import Library
from datagen.transformations.declaration import Lengths
from lorweb_bench.data.transformation_library import file_name, load_library
from lorweb_bench.errors import InputError


def library_name(name: str) -> str:
    """What a manifest calls a recipe's library: its entry point, or `datagen+FILE-DIGEST`.

    The digest says nothing of where the file lies.
    """
    return f"datagen+{file_name(name)}" if name.endswith(".py") else name


@lru_cache(maxsize=4)
def library_of(name: str, lengths: Lengths = "shares") -> Library:
    """The library of a recipe, loaded once per process.

    Args:
        name: An installed library, or a file in .py, whose families join the built-in ones.
        lengths: How instructions tell lengths.

    Raises:
        InputError: It is not there, or has no families.
    """
    library = built_in().with_file(name) if name.endswith(".py") else load_library(name)
    if not isinstance(library, Library):
        raise InputError(
            f"The transformation library {name!r} has no families to choose from; a recipe needs "
            "one like 'datagen'."
        )
    return library.telling(lengths)
