"""Relation252K on disk: `<category>/Group1/labels.json` and, beside it, images of (source, edited) side by side."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datagen.making.build_notes import Note
from datagen.sources import Pair, Skipped
from datagen.sources.image_files import (
    check_files,
    decode_file,
    folders,
    is_image,
    slugs,
    too_small,
)
from datagen.sources.image_sets import refuse_bad
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError

ADVERTISED_TASKS, ADVERTISED_IMAGES, ADVERTISED_SAMPLES = 218, 33_274, 251_580
LICENCE = "not stated by the publisher; not to be redistributed"
ATTRIBUTION = "Relation252K (RelationAdapter)"


@lru_cache(maxsize=2)
def _sheet(path: str, max_pixels: int) -> np.ndarray:
    """The whole concatenation, read-only, in memory for the pair at hand: both halves are wanted in a row."""
    image = decode_file(Path(path), max_pixels)
    image.setflags(write=False)
    return image


@dataclass(frozen=True)
class Half:
    """The left or the right half, uint8 H x W//2 x 3 RGB, of the concatenation in a file; of an odd width the middle column is lost."""

    path: str
    side: Literal["left", "right"]
    max_pixels: int = MAX_PIXELS

    def __call__(self) -> np.ndarray:
        sheet = _sheet(self.path, self.max_pixels)
        half = sheet.shape[1] // 2
        return np.array(
            sheet[:, :half] if self.side == "left" else sheet[:, sheet.shape[1] - half :]
        )


@dataclass
class Ingest:
    """What a copy of Relation252K holds, counted on disk and not taken from anybody's word."""

    tasks: int = 0
    groups: int = 0
    entries: int = 0
    images: int = 0
    pairs: int = 0
    ordered_analogies: int = 0
    unlisted: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The counts in words, each beside the advertised one where there is one."""
        return [
            f"tasks: {self.tasks} (advertised {ADVERTISED_TASKS}) in {self.groups} groups",
            f"images: {self.images} (advertised {ADVERTISED_IMAGES}), of which no label names {len(self.unlisted)}",
            f"labels: {self.entries}, of which {self.entries - self.pairs} were left out",
            f"pairs: {self.pairs}, which make {self.ordered_analogies} ordered analogies (advertised {ADVERTISED_SAMPLES} samples)",
        ]


@dataclass(frozen=True)
class _Entry:
    category: str
    name: str  # relative to the root, for people
    file: Path
    instruction: str
    pixels: str = ""


def relation252k(
    path: str | Path,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    licence: str = LICENCE,
    attribution: str = ATTRIBUTION,
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
) -> tuple[list[Pair], Ingest]:
    """The pairs of every category and group, in the order of their names, and the counts of what is there and what is not.

    Every image named by a label is decoded once, by `workers` processes. Labels whose image is missing, unreadable or narrower than
    two pixels, halves with a side under `min_side` pixels, and folders of images without labels are left out and listed in
    `Ingest.skipped`; with on_bad="fail" the first unreadable one raises InputError. InputError too when there is no labels.json or
    no pair.
    """
    root = Path(path).expanduser()
    ingest = Ingest()
    entries = [
        entry
        for group, names in (folders(root) if root.is_dir() else ())
        for entry in _entries(root, group, names, ingest)
    ]
    if not ingest.groups:
        raise InputError(
            f"{path} holds no labels.json; give the folder that holds the categories of Relation252K"
        )
    kept: list[_Entry] = []
    for entry, found in zip(
        entries, check_files([e.file for e in entries], max_pixels, workers), strict=True
    ):
        problem = found.problem or ("" if found.width >= 2 else "one pixel wide, no two halves")
        if problem := problem or too_small(found.width // 2, found.height, min_side):
            ingest.skipped.append(Skipped(entry.name, problem))
        else:
            kept.append(replace(entry, pixels=found.digest))
    refuse_bad(path, ingest.skipped, on_bad)
    if not kept:
        why = (
            f"; the first left out: {ingest.skipped[0].file} ({ingest.skipped[0].reason})"
            if ingest.skipped
            else ""
        )
        raise InputError(f"{path} holds no pair of Relation252K{why}")
    pairs = _pairs(kept, licence, attribution, max_pixels)
    sizes = np.unique([pair.task for pair in pairs], return_counts=True)[1]
    ingest.tasks, ingest.pairs, ingest.ordered_analogies = (
        len(sizes),
        len(pairs),
        int((sizes * (sizes - 1)).sum()),
    )
    return pairs, ingest


def _pairs(entries: list[_Entry], licence: str, attribution: str, max_pixels: int) -> list[Pair]:
    categories = list(dict.fromkeys(entry.category for entry in entries))
    tasks = dict(zip(categories, slugs(categories), strict=True))
    # A photograph edited in several categories keeps its file's name there, so equal names are taken for one photograph.
    stems = list(dict.fromkeys(entry.file.stem for entry in entries))
    photographs = dict(zip(stems, slugs(stems), strict=True))
    names = slugs([str(Path(entry.name).with_suffix("")) for entry in entries])
    return [
        Pair(
            task=tasks[entry.category],
            name=name,
            before=Half(str(entry.file.absolute()), "left", max_pixels),
            after=Half(str(entry.file.absolute()), "right", max_pixels),
            instruction=entry.instruction,
            licence=licence,
            attribution=attribution,
            photograph=photographs[entry.file.stem],
            pixels=entry.pixels,
        )
        for entry, name in zip(entries, names, strict=True)
    ]


def _entries(root: Path, group: Path, names: Sequence[str], ingest: Ingest) -> list[_Entry]:
    """The labels of a folder whose images exist; the others go to `ingest`, which also gets the counts."""
    place = group.relative_to(root)
    images = {name: group / name for name in names if is_image(group / name)}
    labels = next((group / name for name in names if name.lower() == "labels.json"), None)
    ingest.images += len(images)
    if labels is None:
        if images and place.parts:
            ingest.skipped.append(
                Skipped(
                    place.as_posix(),
                    Note(f"{len(images)} images and no labels.json beside them", "unlabelled"),
                )
            )
        ingest.unlisted += [(place / name).as_posix() for name in images]
        return []
    ingest.groups += 1
    alike = Counter(map(_letters, images))
    by_letters = {_letters(name): name for name in images if alike[_letters(name)] == 1}
    entries: list[_Entry] = []
    used: set[str] = set()
    for number, row in enumerate(_rows(labels, place, ingest), 1):
        ingest.entries += 1
        given = row.get("img_name") if isinstance(row, dict) else None
        if not isinstance(given, str) or not given:
            ingest.skipped.append(
                Skipped((place / labels.name).as_posix(), f"entry {number} has no img_name")
            )
            continue
        name = given if given in images else by_letters.get(_letters(given), given)
        if name in used:
            ingest.skipped.append(Skipped((place / name).as_posix(), "named twice in labels.json"))
        elif name not in images:
            ingest.skipped.append(
                Skipped(
                    (place / name).as_posix(), "named in labels.json, but there is no such image"
                )
            )
        else:
            used.add(name)
            entries.append(
                _Entry(
                    _category(root, place),
                    (place / name).as_posix(),
                    images[name],
                    _instruction(row),
                )
            )
    ingest.unlisted += [(place / name).as_posix() for name in images if name not in used]
    return entries


def _category(root: Path, place: Path) -> str:
    """The category of a folder with labels: itself, or, where it is called Group with or without a number, the folder around it."""
    whole = root.resolve() / place
    inner = bool(re.fullmatch(r"group[\s_-]*\d*", whole.name, re.IGNORECASE))
    category = place.parent if inner and place.parts else place
    return category.as_posix() if category.parts else (whole.parent if inner else whole).name


def _letters(name: str) -> str:
    """A file's name as systems compare it that know no upper case, and one spelling of each accent."""
    return unicodedata.normalize("NFC", name).casefold()


def _rows(labels: Path, place: Path, ingest: Ingest) -> list[Any]:
    try:
        rows = json.loads(labels.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        ingest.skipped.append(Skipped((place / labels.name).as_posix(), f"no JSON ({error})"))
        return []
    if not isinstance(rows, list):
        ingest.skipped.append(Skipped((place / labels.name).as_posix(), "not a list of labels"))
        return []
    return rows


def _instruction(row: dict[str, Any]) -> str:
    text = row.get("edit_instruction")
    return " ".join(text.encode(errors="replace").decode().split()) if isinstance(text, str) else ""
