"""A user's own photographs: a folder of files, and what is left out of it."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from datagen.making.build_notes import LeftOut, Note
from datagen.sources.file_names import NameIndex, find_file
from datagen.sources.image_files import (
    Checked,
    ImageFile,
    check_files,
    file_sha256,
    image_files,
    is_too_small,
    metadata_notes,
    slugs,
    too_small,
)
from datagen.sources.source import Source
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError, did_you_mean
from lorweb_bench.suites.near_duplicates import SourceDigest, SourceIndex


def folder(
    path: str | Path,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    sha256: Mapping[str, str] | None = None,
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    licence: str = "unknown",
    attribution: str = "",
    credits: str | Path | None = None,
    workers: int = 1,
    recheck: bool = False,
) -> tuple[list[Source], list[Note]]:
    """Read the photographs in a folder and its subfolders, or those that match a pattern.

    Every file is decoded once. Left out, with the reason, are files that cannot be read whole,
    copies of a picture that an earlier file holds, and those with a short side under `min_side`.

    Args:
        path: A folder, or a pattern such as `photos/**/*.jpg`.
        on_bad: `fail` raises at the first file that is broken.
        sha256: Relative name -> hex digest: exactly these files are used.
        min_side: The least short side, in pixels.
        max_pixels: Larger images are left out.
        licence: Recorded where `credits` gives none.
        attribution: Recorded where `credits` gives none.
        credits: A CSV file with the columns `file`, `licence`, `attribution`.
        workers: Processes that decode the files.
        recheck: Whether files are decoded that an earlier build has checked.

    Returns:
        The photographs in the order of their names; and the files that were left out, with a
        sentence about metadata that is broken.

    Raises:
        InputError: No photograph remains, a pinned file is missing or another one, `credits` is
            wrong, or `on_bad` is `fail` and a file is broken.
    """
    root, files = image_files(path)
    names = [file.relative_to(root).as_posix() for file in files]
    left_out: list[LeftOut] = []
    if sha256 is not None:
        pinned = {name: find_file(root, name) for name in sorted(sha256)}
        _check_pins(pinned, sha256, recheck)
        left_out = _not_pinned(root, names, pinned)
        names, files = list(pinned), list(pinned.values())
    credited = _read_credits(Path(credits), names) if credits is not None else {}
    sources: list[Source] = []
    first_with: dict[str, str] = {}  # by pixel hash
    checks = list(check_files(files, max_pixels, workers, recheck))
    for name, slug, file, checked in zip(names, _file_slugs(names), files, checks, strict=True):
        if checked.problem and on_bad == "fail":
            raise InputError(checked.problem)
        if (note := _why_left_out(name, checked, first_with, min_side)) is not None:
            left_out.append(note)
            continue
        own_licence, own_attribution = credited.get(name, ("", ""))
        image = ImageFile(str(file.absolute()), max_pixels)
        credit = (own_licence or licence, own_attribution or attribution)
        area = checked.height * checked.width
        sources.append(Source(slug, *credit, image, checked.digest, checked.source, area))
    if not sources:
        raise _no_photographs(path, left_out)
    return sources, [*left_out, *metadata_notes(names, checks)]


def _not_pinned(root: Path, names: Sequence[str], pinned: Mapping[str, Path]) -> list[LeftOut]:
    """The files that are not used because the recipe pins others."""
    why = "not among the files that the recipe pins"
    used = set(pinned.values())
    return [LeftOut(name, why, "not_pinned") for name in names if root / name not in used]


def _no_photographs(path: str | Path, left_out: Sequence[LeftOut]) -> InputError:
    """The error where no photograph remains, with the first that was left out."""
    why = "nothing in it is named as an image"
    if left_out:
        why = f"the first left out: {left_out[0].name} ({left_out[0].reason})"
    return InputError(f"{path} has no usable photographs; {why}")


def _why_left_out(
    name: str, checked: Checked, first_with: dict[str, str], min_side: int
) -> LeftOut | None:
    """Why a file is not used; None, and its pixels are remembered, where it is."""
    if checked.problem:
        return LeftOut(name, checked.problem)
    first = first_with.setdefault(checked.digest, name)
    if first != name:
        return LeftOut(name, f"the same picture as {first}", "duplicate")
    if is_too_small(checked.width, checked.height, min_side):
        return too_small(name, checked.width, checked.height, min_side)
    return None


def _read_credits(path: Path, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Licence and attribution by file, from a CSV file.

    Raises:
        InputError: It is no such file, or names a photograph that is not there, or one twice.
    """
    where = f"source.credits: {path}"
    try:
        with path.expanduser().open(encoding="utf-8-sig", newline="") as f:
            reader = csv.DictReader(f, restkey="", restval="")
            columns, rows = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f"{where} cannot be read ({e}); it is a CSV file in UTF-8.") from None
    if not {"file", "licence", "attribution"} <= set(columns):
        there = ", ".join(columns) or "none"
        raise InputError(
            f"{where} needs the columns file, licence and attribution, with commas between; "
            f"it has {there}."
        )
    index = NameIndex(names)
    credited: dict[str, tuple[str, str]] = {}
    for line, row in rows:
        name = index.find(row["file"]) or row["file"]
        if "" in row:
            raise InputError(
                f"{where}, line {line} has more fields than columns; "
                "put text that holds commas in quotes."
            )
        if name in credited:
            raise InputError(
                f"{where}, line {line} names {name!r} again; give each photograph one line."
            )
        if index.find(name) is None:
            hint = did_you_mean(name, names, "names are relative to source.path.")
            raise InputError(
                f"{where}, line {line} names {name!r}, which is not among the photographs; {hint}"
            )
        credited[name] = (" ".join(row["licence"].split()), " ".join(row["attribution"].split()))
    return credited


def without_near_duplicates(
    photographs: Sequence[Source],
) -> tuple[list[Source], list[LeftOut]]:
    """One photograph of each group that is near-equal or mirrored: the largest.

    Args:
        photographs: Photographs of a folder, with their digests.

    Returns:
        The photographs that remain, in their order, and the others with the one that each is like.
    """
    index = SourceIndex()
    copies: dict[str, LeftOut] = {}
    for source in sorted(photographs, key=lambda source: (-source.area, source.name)):
        digest = SourceDigest.from_text(source.digest)
        near = index.nearest(digest)
        if near is None:
            index.add(source.name, digest)
            continue
        reason = f"it looks like {near[0]}, which is not smaller and is used"
        copies[source.name] = LeftOut(source.name, reason, "near_duplicate")
    distinct = [source for source in photographs if source.name not in copies]
    return distinct, [copies[name] for name in sorted(copies)]


def _file_slugs(names: list[str]) -> list[str]:
    """Slugs without the file's suffix, unless two files differ in nothing else."""
    stems = [name[: -len(Path(name).suffix)] for name in names]
    counts = Counter(stems)
    unique = [stem if counts[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
    return slugs(unique)


def _check_pins(files: Mapping[str, Path], pins: Mapping[str, str], recheck: bool) -> None:
    for name, digest in pins.items():
        file = files[name]
        if not file.is_file():
            raise InputError(
                f"{file} is pinned by its sha256 but missing; "
                "restore the file or take the pin out of the recipe"
            )
        actual = file_sha256(file, recheck)
        if actual != digest.lower():
            raise InputError(
                f"{file} has the sha256 {actual}, the recipe pins {digest}; "
                "use the very same file or change the pin"
            )
