"""The evaluation set that LoRWeB's authors released (`hilamanor/LoRWeB_evalset` on the hub).

Edits lie in `<set>/<category>/<Words_of_the_edit>/<stem of the original>_<i>.png`, and the
photographs that they were made of in `unsplash_<category>/<stem>.jpg`, which are fetched apart.
There is no true b': a photograph without an edit is what a method is to edit.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datagen.making.build_notes import LeftOut, Note
from datagen.sources.file_names import folded
from datagen.sources.image_files import (
    Checked,
    ImageFile,
    check_files,
    image_files,
    is_too_small,
    metadata_notes,
    slugs,
    too_small,
)
from datagen.sources.image_sets import refuse_broken
from datagen.sources.source import Pair
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError

ORIGINALS = "unsplash_"  # how the folders of originals begin; the category follows
EDIT = re.compile(r"(.+)_(\d+)")  # the name of an edit: the original's stem, and a number
ADVERTISED_TASKS, ADVERTISED_EDITS = 90, 270
ATTRIBUTION = "LoRWeB_evalset (arXiv 2602.15727)"
LICENCE = "not stated here; see the card of hilamanor/LoRWeB_evalset and Unsplash's licence"


@dataclass(frozen=True)
class _Edit:
    """A picture that was edited, and the photograph that it was made of."""

    file: Path
    set: str
    category: str
    words: str
    original: Path


@dataclass
class _Found:
    """What lies in a folder."""

    originals: dict[tuple[str, str], Path] = field(default_factory=dict)
    edits: list[_Edit] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def lorweb_evalset(
    path: str | Path,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    licence: str = LICENCE,
    attribution: str = ATTRIBUTION,
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
    recheck: bool = False,
) -> tuple[list[Pair], list[Note]]:
    """Read the released set: a task for each folder of an edit, and what may be its b.

    Args:
        path: A folder that holds the edits and the originals, at any depth.
        on_bad: `fail` raises at the first file that is broken.
        licence: Recorded with every item.
        attribution: Recorded with every item.
        min_side: Photographs with a shorter side than this, in pixels, are left out.
        max_pixels: Larger images are left out.
        workers: Processes that decode the files.
        recheck: Whether files are decoded that an earlier build has checked.

    Returns:
        For each task its edits as pairs, and then each photograph of the category that the task
        does not edit as a pair without an after; and what was left out, with the counts.

    Raises:
        InputError: There is no edit whose original is there, or `on_bad` is `fail` and a file is
            broken.
    """
    root, images = image_files(path)
    found = _find(root, images)
    if not found.originals:
        raise InputError(
            f"{path}: no originals; put the photographs into folders {ORIGINALS}<category>, as in "
            f"{ORIGINALS}animals/<name>.jpg, somewhere below it"
        )
    if not found.edits:
        raise InputError(
            f"{path}: no edit of an original; the released set has them in "
            "<set>/<category>/<Words_of_the_edit>/<name of the original>_<i>.png"
        )
    files = [*found.originals.values(), *(edit.file for edit in found.edits)]
    checked = dict(zip(files, check_files(files, max_pixels, workers, recheck), strict=True))
    unusable: dict[Path, LeftOut] = {}
    for file, image in checked.items():
        name = str(file.relative_to(root))
        if image.problem:
            unusable[file] = LeftOut(name, image.problem)
        elif is_too_small(image.width, image.height, min_side):
            unusable[file] = too_small(name, image.width, image.height, min_side)
    refuse_broken(path, list(unusable.values()), on_bad)
    whole = checked.keys() - unusable.keys()
    pairs = list(_pairs(found, checked, whole, (licence, attribution), max_pixels))
    notes = metadata_notes([file.name for file in files], list(checked.values()))
    return pairs, [_counts(found, pairs), *found.left_out, *unusable.values(), *notes]


def _find(root: Path, images: Sequence[Path]) -> _Found:
    """The originals and the edits among the images below a folder, by their names."""
    found = _Found()
    others = []
    for file in images:
        folder = folded(file.parent.name)
        if folder.startswith(ORIGINALS):
            found.originals[folder.removeprefix(ORIGINALS), folded(file.stem)] = file
        else:
            others.append(file)
    for file in others:
        named = EDIT.fullmatch(file.stem)
        category = folded(file.parent.parent.name)
        original = found.originals.get((category, folded(named[1]))) if named else None
        if original is None:
            reason = f"no original of its name in {ORIGINALS}{category}"
            found.left_out.append(LeftOut(str(file.relative_to(root)), reason, "no_original"))
            continue
        collection = file.parent.parent.parent.name
        found.edits.append(_Edit(file, collection, category, file.parent.name, original))
    return found


def _pairs(
    found: _Found,
    checked: dict[Path, Checked],
    whole: Collection[Path],
    credit: tuple[str, str],
    max_pixels: int,
) -> Iterator[Pair]:
    """The pairs of every task, and what may be its b."""
    edits = [edit for edit in found.edits if edit.file in whole and edit.original in whole]
    by_task: dict[tuple[str, str, str], list[_Edit]] = {}
    for edit in edits:
        by_task.setdefault((edit.category, edit.set, edit.words), []).append(edit)
    task_names = slugs([f"{category}-{words}-{name}" for category, name, words in by_task])
    photograph_of = _photograph_names(found)
    for task, ((category, _, words), group) in zip(task_names, by_task.items(), strict=True):
        instruction = " ".join(words.replace("_", " ").split())
        edited = {edit.original for edit in group}
        shown = [(edit.original, edit.file) for edit in group]
        bare = [
            (file, None)
            for (place, _), file in found.originals.items()
            if place == category and file in whole and file not in edited
        ]
        for before, after in (*shown, *bare):
            name = slugs([f"{task}-{(after or before).stem}"])[0]
            digests = [checked[file].digest for file in (before, after) if file is not None]
            yield Pair(
                task=task,
                name=name,
                before=ImageFile(str(before.absolute()), max_pixels),
                after=None if after is None else ImageFile(str(after.absolute()), max_pixels),
                instruction=instruction,
                licence=credit[0],
                attribution=credit[1],
                photograph=photograph_of[before],
                pixels=" ".join(digests),
                digest=checked[before].source,
            )


def _photograph_names(found: _Found) -> dict[Path, str]:
    files = list(found.originals.values())
    names = slugs([f"{category}-{stem}" for category, stem in found.originals])
    return dict(zip(files, names, strict=True))


def _counts(found: _Found, pairs: Sequence[Pair]) -> str:
    edits = [pair for pair in pairs if pair.after is not None]
    tasks = len({pair.task for pair in edits})
    return (
        f"LoRWeB's released set: {tasks} tasks (the paper says {ADVERTISED_TASKS}), {len(edits)} "
        f"edits ({ADVERTISED_EDITS}) of {len(found.originals)} photographs; which photographs are "
        "b is drawn by the seed, because the set does not say"
    )
