"""Relation252K on disk: `<category>/Group1/labels.json`, and beside it images of both sides."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datagen.making.build_notes import LeftOut
from datagen.sources.file_names import NameIndex
from datagen.sources.image_files import (
    Checked,
    check_files,
    decode_file,
    folders,
    is_image,
    is_too_small,
    slugs,
    too_small,
)
from datagen.sources.image_sets import refuse_broken
from datagen.sources.source import Pair
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError

ADVERTISED_TASKS, ADVERTISED_IMAGES, ADVERTISED_SAMPLES = 218, 33_274, 251_580
LICENCE = "not stated by the publisher; not to be redistributed"
ATTRIBUTION = "Relation252K (RelationAdapter)"


@lru_cache(maxsize=2)
def _load_sheet(path: str, max_pixels: int) -> np.ndarray:
    """The whole image in a file, read-only. Both halves are wanted in a row, so two are kept."""
    image = decode_file(Path(path), max_pixels)
    image.setflags(write=False)
    return image


@dataclass(frozen=True)
class Half:
    """Loads one half of the image in a file, uint8 H x W//2 x 3 RGB.

    Of an odd width the middle column is lost.
    """

    path: str
    side: Literal["left", "right"]
    max_pixels: int = MAX_PIXELS

    def __call__(self) -> np.ndarray:
        sheet = _load_sheet(self.path, self.max_pixels)
        half = sheet.shape[1] // 2
        if self.side == "left":
            return np.array(sheet[:, :half])
        return np.array(sheet[:, sheet.shape[1] - half :])


@dataclass
class Census:
    """What a copy of Relation252K holds, counted on disk and not taken from anybody's word.

    Attributes:
        tasks: Categories with at least one pair.
        groups: Folders with a labels.json.
        entries: Labels.
        images: Image files.
        pairs: Labels with a usable image.
        ordered_analogies: Ordered pairs of pairs of one task.
        unlisted: Images that no label names.
        left_out: Labels, files and folders that are not used.
    """

    tasks: int = 0
    groups: int = 0
    entries: int = 0
    images: int = 0
    pairs: int = 0
    ordered_analogies: int = 0
    unlisted: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The counts in words, each beside the advertised one where there is one."""
        return [
            f"tasks: {self.tasks} (advertised {ADVERTISED_TASKS}) in {self.groups} groups",
            f"images: {self.images} (advertised {ADVERTISED_IMAGES}), of which no label names "
            f"{len(self.unlisted)}",
            f"labels: {self.entries}, of which {self.entries - self.pairs} were left out",
            f"pairs: {self.pairs}, which make {self.ordered_analogies} ordered analogies "
            f"(advertised {ADVERTISED_SAMPLES} samples)",
        ]


@dataclass(frozen=True)
class _Label:
    """A label whose image exists; `name` is relative to the root, for people."""

    category: str
    name: str
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
    recheck: bool = False,
) -> tuple[list[Pair], Census]:
    """Read the pairs of every category and group, and count what is there and what is not.

    Every image that a label names is decoded once. Left out are labels whose image is missing,
    broken or narrower than two pixels, halves with a side under `min_side`, and folders of images
    without labels.

    Args:
        path: The folder that holds the categories.
        on_bad: `fail` raises at the first thing that is broken.
        licence: Recorded for every pair.
        attribution: Recorded for every pair.
        min_side: The least side of a half, in pixels.
        max_pixels: Larger images are left out.
        workers: Processes that decode the files.
        recheck: Whether files are decoded that an earlier build has checked.

    Returns:
        The pairs in the order of their names, and the counts.

    Raises:
        InputError: There is no labels.json or no pair, or `on_bad` is `fail` and something is
            broken.
    """
    root = Path(path).expanduser()
    census = Census()
    labels = _labels_in(root, path, census)
    usable: list[_Label] = []
    checks = check_files([label.file for label in labels], max_pixels, workers, recheck)
    for label, checked in zip(labels, checks, strict=True):
        if (note := _why_left_out(label.name, checked, min_side)) is not None:
            census.left_out.append(note)
        else:
            usable.append(replace(label, pixels=checked.digest))
    refuse_broken(path, census.left_out, on_bad)
    if not usable:
        raise _no_pair(path, census)
    pairs = _pairs(usable, licence, attribution, max_pixels)
    _count_pairs(pairs, census)
    return pairs, census


def list_tasks(path: str | Path) -> dict[str, int]:
    """The tasks of a copy by the names of their folders, and how many labelled images each has.

    No image is decoded, so a broken one counts.

    Raises:
        InputError: There is no labels.json.
    """
    labels = _labels_in(Path(path).expanduser(), path, Census())
    counts: dict[str, int] = {}
    for label in labels:
        counts[label.category] = counts.get(label.category, 0) + 1
    return counts


def _labels_in(root: Path, path: str | Path, census: Census) -> list[_Label]:
    """The labels of all groups under the root. InputError where there is no labels.json."""
    labels: list[_Label] = []
    for group, names in folders(root) if root.is_dir() else ():
        labels += _labels_of_group(root, group, names, census)
    if not census.groups:
        raise InputError(
            f"{path} holds no labels.json; give the folder that holds the categories of "
            "Relation252K"
        )
    return labels


def _no_pair(path: str | Path, census: Census) -> InputError:
    """The error where no pair remains, with the first label that was left out."""
    why = ""
    if census.left_out:
        why = f"; the first left out: {census.left_out[0].name} ({census.left_out[0].reason})"
    return InputError(f"{path} holds no pair of Relation252K{why}")


def _count_pairs(pairs: Sequence[Pair], census: Census) -> None:
    """Add to the census how many tasks, pairs and ordered analogies there are."""
    sizes = np.unique([pair.task for pair in pairs], return_counts=True)[1]
    census.tasks, census.pairs = len(sizes), len(pairs)
    census.ordered_analogies = int((sizes * (sizes - 1)).sum())


def _why_left_out(name: str, checked: Checked, min_side: int) -> LeftOut | None:
    if checked.problem:
        return LeftOut(name, checked.problem)
    if checked.width < 2:
        return LeftOut(name, "one pixel wide, no two halves")
    half = checked.width // 2
    if is_too_small(half, checked.height, min_side):
        return too_small(name, half, checked.height, min_side)
    return None


def _pairs(labels: Sequence[_Label], licence: str, attribution: str, max_pixels: int) -> list[Pair]:
    categories = list(dict.fromkeys(label.category for label in labels))
    tasks = dict(zip(categories, slugs(categories), strict=True))
    # A photograph edited in several categories keeps its file's name there, so equal names are
    # taken for one photograph.
    stems = list(dict.fromkeys(label.file.stem for label in labels))
    photographs = dict(zip(stems, slugs(stems), strict=True))
    names = slugs([str(Path(label.name).with_suffix("")) for label in labels])
    return [
        Pair(
            task=tasks[label.category],
            name=name,
            before=Half(str(label.file.absolute()), "left", max_pixels),
            after=Half(str(label.file.absolute()), "right", max_pixels),
            instruction=label.instruction,
            licence=licence,
            attribution=attribution,
            photograph=photographs[label.file.stem],
            pixels=label.pixels,
        )
        for label, name in zip(labels, names, strict=True)
    ]


def _labels_of_group(root: Path, group: Path, names: Sequence[str], census: Census) -> list[_Label]:
    """The labels of a folder whose images exist; `census` gets the counts and the others."""
    folder = group.relative_to(root)
    images = {name: group / name for name in names if is_image(group / name)}
    census.images += len(images)
    file = next((group / name for name in names if name.lower() == "labels.json"), None)
    if file is None:
        if images and folder.parts:
            why = f"{len(images)} images and no labels.json beside them"
            census.left_out.append(LeftOut(folder.as_posix(), why, "unlabelled"))
        census.unlisted += [(folder / name).as_posix() for name in images]
        return []
    census.groups += 1
    index = NameIndex(images)
    labels: list[_Label] = []
    used: set[str] = set()
    for number, row in enumerate(_rows(file, folder, census), 1):
        census.entries += 1
        name = _image_name(row, index)
        if not name:
            where = (folder / file.name).as_posix()
            census.left_out.append(LeftOut(where, f"entry {number} has no img_name"))
        elif name in used:
            census.left_out.append(
                LeftOut((folder / name).as_posix(), "named twice in labels.json")
            )
        elif name not in images:
            why = "named in labels.json, but there is no such image"
            census.left_out.append(LeftOut((folder / name).as_posix(), why))
        else:
            used.add(name)
            where = (folder / name).as_posix()
            labels.append(_Label(_category(root, folder), where, images[name], _instruction(row)))
    census.unlisted += [(folder / name).as_posix() for name in images if name not in used]
    return labels


def _image_name(row: Any, index: NameIndex) -> str:
    """The name of a label's image as the file spells it; empty where the label has none."""
    name = row.get("img_name") if isinstance(row, dict) else None
    if not isinstance(name, str):
        return ""
    return index.find(name) or name


def _category(root: Path, place: Path) -> str:
    """The category of a folder with labels: itself, or the folder around it if it is called Group.

    A number may follow the word.
    """
    whole = root.resolve() / place
    inner = bool(re.fullmatch(r"group[\s_-]*\d*", whole.name, re.IGNORECASE))
    category = place.parent if inner and place.parts else place
    return category.as_posix() if category.parts else (whole.parent if inner else whole).name


def _rows(labels: Path, place: Path, census: Census) -> list[Any]:
    where = (place / labels.name).as_posix()
    try:
        rows = json.loads(labels.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        census.left_out.append(LeftOut(where, f"no JSON ({error})"))
        return []
    if not isinstance(rows, list):
        census.left_out.append(LeftOut(where, "not a list of labels"))
        return []
    return rows


def _instruction(row: dict[str, Any]) -> str:
    text = row.get("edit_instruction")
    if not isinstance(text, str):
        return ""
    return " ".join(text.encode(errors="replace").decode().split())
