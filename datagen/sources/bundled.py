"""The photographs that come with the package, each with its licence."""

import csv
from pathlib import Path

from datagen.making.build_notes import LeftOut
from datagen.sources.image_files import ImageFile, is_too_small, too_small
from datagen.sources.source import Source
from lorweb_bench.errors import InputError

FOLDER = Path(__file__).parents[1] / "photographs"


def bundled() -> list[Source]:
    """The 86 photographs of `datagen/photographs`, in the order of their names.

    Raises:
        InputError: When files of the installation are missing.

    >>> [source.name for source in bundled()][:3]
    ['aitzgorri', 'anthias', 'aphrodisias']
    """
    credits_file = FOLDER / "credits.csv"
    try:
        with credits_file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        raise InputError(f"{credits_file} is missing; install lorweb-bench again.") from None
    return [_source(row["file"], row["licence"], row["attribution"]) for row in rows]


def _source(name: str, licence: str, attribution: str) -> Source:
    path = FOLDER / name
    if not path.is_file():
        raise InputError(f"The photograph {path} is missing; install lorweb-bench again.")
    return Source(path.stem, licence, attribution, ImageFile(str(path)))


def bundled_from(min_side: int) -> tuple[list[Source], tuple[LeftOut, ...]]:
    """The bundled photographs whose short side has `min_side` pixels or more, and the others."""
    large, small = [], []
    for source in bundled():
        width, height = _size(source)
        if is_too_small(width, height, min_side):
            small.append(too_small(source.name, width, height, min_side))
        else:
            large.append(source)
    return large, tuple(small)


def _size(source: Source) -> tuple[int, int]:
    """Width and height, from the file's header alone."""
    from PIL import Image

    assert isinstance(source.load, ImageFile)
    with Image.open(source.load.path) as image:
        return image.size
