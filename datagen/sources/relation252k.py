"""Relation252K on disk: `<category>/Group1/labels.json` and, beside it, images of (source, edited) side by side."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datagen.sources import Pair, Skipped
from datagen.sources.decoding import SUFFIXES, check_files, decode_file, slugs
from lorweb_bench.errors import InputError
from lorweb_bench.images import MAX_PIXELS

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
        return np.array(sheet[:, :half] if self.side == "left" else sheet[:, sheet.shape[1] - half :])


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
            f"labels: {self.entries}, of which {len(self.skipped)} were left out",
            f"pairs: {self.pairs}, which make {self.ordered_analogies} ordered analogies (advertised {ADVERTISED_SAMPLES} samples)",
        ]


@dataclass(frozen=True)
class _Entry:
    category: str
    name: str  # relative to the root, for people
    file: Path
    instruction: str


def relation252k(
    path: str | Path, on_bad: Literal["skip", "fail"] = "skip", *, max_pixels: int = MAX_PIXELS, workers: int = 1
) -> tuple[list[Pair], Ingest]:
    """The pairs of every category and group, in the order of their names, and the counts of what is there and what is not.

    Every image named by a label is decoded once, by `workers` processes. Labels whose image is missing, unreadable or narrower than
    two pixels are left out and listed in `Ingest.skipped`; with on_bad="fail" the first of them raises InputError. InputError too when
    there is no labels.json or no pair.
    """
    root = Path(path).expanduser()
    labels = sorted(root.rglob("labels.json")) if root.is_dir() else []
    if not labels:
        raise InputError(f"{path} holds no labels.json; give the folder that holds the categories of Relation252K")
    ingest = Ingest(groups=len(labels))
    entries = [entry for file in labels for entry in _entries(root, file, ingest)]
    kept: list[_Entry] = []
    for entry, found in zip(entries, check_files([e.file for e in entries], max_pixels, workers), strict=True):
        problem = found.problem or ("" if found.width >= 2 else "one pixel wide, no two halves")
        if problem:
            ingest.skipped.append(Skipped(entry.name, problem))
        else:
            kept.append(entry)
    if ingest.skipped and on_bad == "fail":
        raise InputError(f"{path}: {ingest.skipped[0].file}: {ingest.skipped[0].reason}")
    if not kept:
        why = f"; the first left out: {ingest.skipped[0].file} ({ingest.skipped[0].reason})" if ingest.skipped else ""
        raise InputError(f"{path} holds no pair of Relation252K{why}")
    pairs = _pairs(kept, max_pixels)
    sizes = np.unique([pair.task for pair in pairs], return_counts=True)[1]
    ingest.tasks, ingest.pairs, ingest.ordered_analogies = len(sizes), len(pairs), int((sizes * (sizes - 1)).sum())
    return pairs, ingest


def _pairs(entries: list[_Entry], max_pixels: int) -> list[Pair]:
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
            before=Half(str(entry.file.resolve()), "left", max_pixels),
            after=Half(str(entry.file.resolve()), "right", max_pixels),
            instruction=entry.instruction,
            licence=LICENCE,
            attribution=ATTRIBUTION,
            photograph=photographs[entry.file.stem],
        )
        for entry, name in zip(entries, names, strict=True)
    ]


def _entries(root: Path, labels: Path, ingest: Ingest) -> list[_Entry]:
    """The labels of a group whose images exist; the others go to `ingest`, which also gets the counts."""
    group = labels.parent
    place = group.relative_to(root)
    category = (place.parent if group.name.lower().startswith("group") else place).as_posix()
    category = root.resolve().name if category == "." else category
    images = {f.name: f for f in sorted(group.iterdir()) if f.suffix.lower() in SUFFIXES and f.is_file()}
    ingest.images += len(images)
    entries: list[_Entry] = []
    used: set[str] = set()
    for number, row in enumerate(_rows(labels, place, ingest), 1):
        ingest.entries += 1
        name = row.get("img_name") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name:
            ingest.skipped.append(Skipped((place / "labels.json").as_posix(), f"entry {number} has no img_name"))
        elif name in used:
            ingest.skipped.append(Skipped((place / name).as_posix(), "named twice in labels.json"))
        elif name not in images:
            ingest.skipped.append(Skipped((place / name).as_posix(), "named in labels.json, but there is no such image"))
        else:
            used.add(name)
            entries.append(_Entry(category, (place / name).as_posix(), images[name], _instruction(row)))
    ingest.unlisted += [(place / name).as_posix() for name in images if name not in used]
    return entries


def _rows(labels: Path, place: Path, ingest: Ingest) -> list[Any]:
    try:
        rows = json.loads(labels.read_text("utf-8-sig"))
    except ValueError as error:
        ingest.skipped.append(Skipped((place / "labels.json").as_posix(), f"no JSON ({error})"))
        return []
    if not isinstance(rows, list):
        ingest.skipped.append(Skipped((place / "labels.json").as_posix(), "not a list of labels"))
        return []
    return rows


def _instruction(row: dict[str, Any]) -> str:
    text = row.get("edit_instruction")
    return " ".join(text.split()) if isinstance(text, str) else ""
