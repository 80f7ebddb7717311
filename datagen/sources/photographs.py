"""Photographs: those that install with the project's dependencies, and a user's own."""

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from datagen.making.build_notes import Note
from datagen.sources import Skipped, Source
from datagen.sources.image_files import ImageFile, check_files, image_files, slugs, too_small
from datagen.sources.near_duplicates import Likenesses, looks
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError, did_you_mean

UNSTATED = "not stated for the image; distributed with scikit-image (BSD-3-Clause)"
NASA = "public domain (NASA)"

# Name -> (distribution, file, licence, attribution), in the words of the packages: the docstrings in skimage/data/_fetchers.py and
# sklearn/datasets/images/README.txt. matplotlib states nothing for its one photograph; the note is ours.
BUNDLED: Mapping[str, tuple[str, str, str, str]] = {
    "astronaut": (
        "scikit-image",
        "skimage/data/astronaut.png",
        "public domain",
        "NASA Great Images database (Eileen Collins)",
    ),
    "brick": ("scikit-image", "skimage/data/brick.png", "CC0-1.0", "CC0Textures, Bricks25"),
    "camera": ("scikit-image", "skimage/data/camera.png", "CC0-1.0", "Lav Varshney"),
    "chelsea": ("scikit-image", "skimage/data/chelsea.png", "CC0-1.0", "Stefan van der Walt"),
    "china": (
        "scikit-learn",
        "sklearn/datasets/images/china.jpg",
        "CC-BY-2.0",
        "danielbuechele, flickr.com/photos/danielbuechele/6061409035",
    ),
    "coffee": (
        "scikit-image",
        "skimage/data/coffee.png",
        "CC0-1.0",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar",
    ),
    "coins": (
        "scikit-image",
        "skimage/data/coins.png",
        "no known copyright restrictions",
        "Brooklyn Museum Collection",
    ),
    "flower": (
        "scikit-learn",
        "sklearn/datasets/images/flower.jpg",
        "CC-BY-2.0",
        "vultilion, flickr.com/photos/vultilion/6056698931",
    ),
    "grace_hopper": (
        *("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
        *(
            "public domain (official photograph of the US Navy; the package states none)",
            "US Navy, James S. Davis (Grace M. Hopper)",
        ),
    ),
    "grass": (
        "scikit-image",
        "skimage/data/grass.png",
        "CC0-1.0",
        "linolafett, DeviantArt, Grass 01",
    ),
    "gravel": ("scikit-image", "skimage/data/gravel.png", "CC0-1.0", "CC0Textures, Gravel04"),
    "hubble_deep_field": (
        "scikit-image",
        "skimage/data/hubble_deep_field.jpg",
        NASA,
        "NASA, HubbleSite (eXtreme Deep Field)",
    ),
    "ihc": (
        "scikit-image",
        "skimage/data/ihc.png",
        "no known copyright restrictions",
        "Center for Microscopy And Molecular Imaging (CMMI)",
    ),
    "moon": ("scikit-image", "skimage/data/moon.png", UNSTATED, "scikit-image"),
    "motorcycle_left": (
        "scikit-image",
        "skimage/data/motorcycle_left.png",
        UNSTATED,
        "Middlebury 2014 stereo benchmark, Scharstein et al.",
    ),
    "retina": (
        "scikit-image",
        "skimage/data/retina.jpg",
        "CC0-1.0",
        "Mikael Häggström, Wikimedia Commons",
    ),
    "rocket": (
        "scikit-image",
        "skimage/data/rocket.jpg",
        "public domain",
        "SpaceX (launch of DSCOVR)",
    ),
}


def bundled() -> list[Source]:
    """The 17 photographs inside the wheels of scikit-image, scikit-learn and matplotlib, by name; none of these is imported.

    Six are grey: brick, camera, coins, grass, gravel, moon. InputError when a package or a file is missing.
    """
    return [
        Source(name, licence, attribution, ImageFile(str(_installed(package, file))))
        for name, (package, file, licence, attribution) in BUNDLED.items()
    ]


def bundled_from(min_side: int) -> tuple[list[Source], tuple[Note, ...]]:
    """Those whose short side has `min_side` pixels or more, and what was left out."""
    found, notes = [], []
    for source in bundled():
        width, height = _size(source)
        if min(width, height) >= min_side:
            found.append(source)
        else:
            notes.append(Skipped(source.name, too_small(width, height, min_side)).note)
    return found, tuple(notes)


def _size(source: Source) -> tuple[int, int]:
    """Width and height, from the file's header alone."""
    from PIL import Image

    assert isinstance(source.load, ImageFile)
    with Image.open(source.load.path) as image:
        return image.size


def _installed(package: str, file: str) -> Path:
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        raise InputError(
            f"the photograph {file} comes with {package}, which is not installed; pip install {package}"
        ) from None
    if not path.is_file():
        raise InputError(f"the photograph {path} of {package} is missing; reinstall {package}")
    return path


def folder(
    path: str | Path,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    sha256: Mapping[str, str] | None = None,
    at_least: int = 1,
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    licence: str = "unknown",
    attribution: str = "",
    credits: str | Path | None = None,
    workers: int = 1,
) -> tuple[list[Source], list[Skipped]]:
    """The photographs in a folder (with its subfolders) or matching a glob, in the order of their names, and the files left out.

    Every file is decoded once here, by `workers` processes. Left out, with the reason: files that cannot be read whole, copies of
    a picture already taken, a short side under `min_side` pixels, and, where `sha256` (relative name -> hex digest) pins files, all
    others. `credits` is a CSV file of `file`, `licence`, `attribution`; what it leaves open is filled with the two other arguments.
    With on_bad="fail" an unreadable file raises instead. InputError also when fewer than `at_least` photographs remain, or a pinned
    file is missing or another.
    """
    root, files = image_files(path)
    names = [file.relative_to(root).as_posix() for file in files]
    skipped: list[Skipped] = []
    if sha256 is not None:
        _check_pins(root, sha256)
        skipped = [
            Skipped(name, Note("not among the files that the recipe pins", "not_pinned"))
            for name in names
            if name not in sha256
        ]
        names = sorted(sha256)
        files = [root / name for name in names]
    credited = _credits(Path(credits), names) if credits is not None else {}
    sources: list[Source] = []
    seen: dict[str, str] = {}
    for name, slug, file, found in zip(
        names, _photograph_slugs(names), files, check_files(files, max_pixels, workers), strict=True
    ):
        if found.problem and on_bad == "fail":
            raise InputError(found.problem)
        reason = found.problem
        if not reason and (first := seen.setdefault(found.digest, name)) != name:
            reason = Note(f"the same picture as {first}", "duplicate")
        reason = reason or too_small(found.width, found.height, min_side)
        if reason:
            skipped.append(Skipped(name, reason))
        else:
            own = credited.get(name, ("", ""))
            sources.append(
                Source(
                    slug,
                    own[0] or licence,
                    own[1] or attribution,
                    ImageFile(str(file.absolute()), max_pixels),
                    found.digest,
                )
            )
    if len(sources) < at_least:
        why = f"; the first left out: {skipped[0].file} ({skipped[0].reason})" if skipped else ""
        why = why if names else "; nothing in it is named as an image"
        raise InputError(
            f"{path} has {len(sources)} usable photographs, and {at_least} are needed{why}"
        )
    return sources, skipped


def _credits(path: Path, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Licence and attribution by file, from a CSV file; InputError when it is none, or names a file that is not there or two times."""
    try:
        with path.expanduser().open(encoding="utf-8-sig", newline="") as f:
            reader = csv.DictReader(f, restkey="", restval="")
            columns, rows = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(
            f"source.credits: {path} cannot be read ({e}); it is a CSV file in UTF-8."
        ) from None
    if not {"file", "licence", "attribution"} <= set(columns):
        there = ", ".join(columns) or "none"
        raise InputError(
            f"source.credits: {path} needs the columns file, licence and attribution, with commas between; it has {there}."
        )
    known, credited = set(names), {}
    for line, row in rows:
        name = row["file"]
        if "" in row:
            raise InputError(
                f"source.credits: {path}, line {line} has more fields than columns; put text that holds commas in quotes."
            )
        if name in credited:
            raise InputError(
                f"source.credits: {path}, line {line} names {name!r} again; give each photograph one line."
            )
        if name not in known:
            hint = did_you_mean(name, names, "names are relative to source.path.")
            raise InputError(
                f"source.credits: {path}, line {line} names {name!r}, which is not among the photographs; {hint}"
            )
        credited[name] = (" ".join(row["licence"].split()), " ".join(row["attribution"].split()))
    return credited


def unlike(photographs: Sequence[Source], workers: int = 1) -> tuple[list[Source], list[Skipped]]:
    """The photographs that look like no earlier one, by their perceptual hash, and the others with the one that they look like."""
    known, kept, near = Likenesses(), [], []
    for source, seen in zip(
        photographs, looks([source.load for source in photographs], workers), strict=True
    ):
        if other := known.like(source.name, seen):
            near.append(Skipped(source.name, Note(f"it looks like {other}", "near_duplicate")))
        else:
            kept.append(source)
    return kept, near


def _photograph_slugs(names: list[str]) -> list[str]:
    """Slugs without the file's suffix, unless two files differ in nothing else."""
    stems = [name[: -len(Path(name).suffix)] for name in names]
    counts = Counter(stems)
    return slugs(
        [stem if counts[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
    )


def _check_pins(root: Path, pins: Mapping[str, str]) -> None:
    for name, digest in pins.items():
        file = root / name
        if not file.is_file():
            raise InputError(
                f"{file} is pinned by its sha256 but missing; restore the file or take the pin out of the recipe"
            )
        with file.open("rb") as f:
            found = hashlib.file_digest(f, "sha256").hexdigest()
        if found != digest.lower():
            raise InputError(
                f"{file} has the sha256 {found}, the recipe pins {digest}; use the very same file or change the pin"
            )
