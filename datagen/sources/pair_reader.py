"""Pairs that somebody or something edited: read from whatever a recipe names, and filtered.

`read_pairs` serves every kind of source; `pairs` reads folders and lists of images before and
after an edit.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from datagen.making.build_notes import LeftOut, Note
from datagen.recipe.schema import Recipe
from datagen.sources.edit_chains import join_chains
from datagen.sources.image_files import ImageFile, slugs
from datagen.sources.image_sets import PROMPTS, ImageSet, NamedRoles, read_image_sets
from datagen.sources.near_duplicates import SeenImages, look_at_all
from datagen.sources.shapes import fit_shapes
from datagen.sources.source import Pair
from lorweb_bench.data.images import MAX_PIXELS

SIDES = ("before", "after")
ENDINGS = {f"{sign}{side}": side for side, sign in itertools.product(SIDES, ".-_")}
# pix2pix calls its folders trainA and trainB; InstructPix2Pix's files end in _0 and _1.
SPLITS = ("train", "test", "val")
NAMES = NamedRoles(
    ENDINGS,
    {
        f"{split}{letter}": side
        for split in SPLITS
        for letter, side in zip("ab", SIDES, strict=True)
    },
    {"_0": "before", "_1": "after"},
)


@dataclass(frozen=True)
class PairsRead:
    """What a source of pairs holds.

    Attributes:
        pairs: The pairs in the order in which the source gives them.
        notes: What was left out, and what else there is to say.
        parameters: By task, what the manifest says of how it was made.
    """

    pairs: Sequence[Pair]
    notes: tuple[Note, ...]
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_pairs(recipe: Recipe, workers: int = 1) -> PairsRead:
    """Read the pairs of a recipe's source, less those that its filters leave out.

    Args:
        recipe: A recipe whose source is of pairs.
        workers: Processes that decode the images.

    Raises:
        InputError: As the source says, and for broken files with `on_bad: fail`.
    """
    read, filters = _read_source(recipe, workers), recipe.filters
    fitted, notes = fit_shapes(read.pairs, recipe.source.other_shape, workers)
    if recipe.source.kind == "quadruplets":
        fitted = _whole_quadruplets(read.pairs, fitted)
    read = replace(read, pairs=fitted, notes=(*read.notes, *notes))
    if not filters.near_duplicates and filters.aspect_tolerance is None:
        return read
    looks = look_at_all([pair.before for pair in read.pairs], workers)
    by_task: dict[str, SeenImages] = {}
    chosen: list[Pair] = []
    left_out: list[LeftOut] = []
    for pair, look in zip(read.pairs, looks, strict=True):
        other = None
        if filters.near_duplicates:
            other = by_task.setdefault(pair.task, SeenImages()).like(pair.name, look)
        if other is None:
            chosen.append(replace(pair, aspect=look.aspect))
        else:
            left_out.append(LeftOut(pair.name, f"it looks like {other}", "near_duplicate"))
    if recipe.source.kind == "quadruplets":
        chosen = _whole_quadruplets(read.pairs, chosen)
    return replace(read, pairs=chosen, notes=(*read.notes, *left_out))


def _whole_quadruplets(pairs: Sequence[Pair], chosen: Sequence[Pair]) -> list[Pair]:
    """The chosen pairs whose other half, which stands next to them in `pairs`, is chosen too."""
    names = {pair.name for pair in chosen}
    whole: set[str] = set()
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        if {first.name, second.name} <= names:
            whole |= {first.name, second.name}
    return [pair for pair in chosen if pair.name in whole]


def _read_source(recipe: Recipe, workers: int) -> PairsRead:
    section, path = recipe.source, recipe.source.path
    assert path is not None
    common: dict[str, Any] = {
        "min_side": max(recipe.filters.minimum_side, recipe.panel.square or 16),
        "workers": workers,
        "recheck": section.recheck,
    }
    if section.kind == "relation252k":
        return _read_relation252k(recipe, common)
    if section.kind == "editor":
        from datagen.editors.edited_pairs import edited_pairs

        return PairsRead(*edited_pairs(recipe, workers))
    if section.kind == "lorweb-evalset":
        from datagen.sources.lorweb_evalset import lorweb_evalset

        read, notes = lorweb_evalset(path, section.on_bad, **_given_credit(recipe), **common)
        return PairsRead(read, tuple(notes))
    common |= {"licence": section.licence, "attribution": section.attribution}
    if section.kind == "hub":
        from datagen.sources.hub import hub

        folder = Path(section.keep).expanduser() if section.keep else None
        read, notes = hub(path, section.hub, folder, section.on_bad, **common)
    elif section.kind == "quadruplets":
        from datagen.sources.quadruplets import quadruplets

        read, notes = quadruplets(path, section.on_bad, **common)
    else:
        read, notes = pairs(path, section.on_bad, **common)
    return PairsRead(read, tuple(notes))


def _read_relation252k(recipe: Recipe, common: Mapping[str, Any]) -> PairsRead:
    from datagen.sources.relation252k import relation252k

    section = recipe.source
    credit = _given_credit(recipe)
    read, census = relation252k(str(section.path), section.on_bad, **credit, **common)
    return PairsRead(read, (*census.lines(), *census.left_out))


def _given_credit(recipe: Recipe) -> dict[str, Any]:
    """The licence and the attribution, where the recipe gives them."""
    section = recipe.source
    given = section.model_fields_set & {"licence", "attribution"}
    return {key: getattr(section, key) for key in sorted(given)}


def pairs(
    path: str | Path,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    licence: str = "unknown",
    attribution: str = "",
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
    recheck: bool = False,
) -> tuple[list[Pair], list[Note]]:
    """Read the pairs in a folder or in a .jsonl file.

    In a folder, at any depth: `cat.before.jpg` and `cat.after.png`; `before/cat.jpg` and
    `after/cat.jpg`; `cat/before.jpg` and `cat/after.jpg`; pix2pix's `trainA/cat.jpg` and
    `trainB/cat.jpg`; or InstructPix2Pix's `1_0.jpg` and `1_1.jpg` beside a prompt.json. The task is
    the folder that they stand in. A text beside the image after the edit (`after/cat.txt`) says the
    edit in words, or a file `instruction.txt` in the task's folder. In JSON lines: `before`,
    `after`, and optionally `task`, `instruction`, `name`, `licence`, `attribution`. Where nothing
    names a task, it is the name of the folder or file given.

    Args:
        path: A folder, a pattern, or a .jsonl file.
        on_bad: `fail` raises at the first file that is broken.
        licence: Recorded where a line gives none.
        attribution: Recorded where a line gives none.
        min_side: Pairs whose before has a shorter side than this, in pixels, are left out.
        max_pixels: Larger images are left out.
        workers: Processes that decode the files.
        recheck: Whether files are decoded that an earlier build has checked.

    Returns:
        The pairs, and what was left out.

    Raises:
        InputError: There is no whole pair, or `on_bad` is `fail` and a file is broken.
    """
    sets, left_out = read_image_sets(
        path,
        SIDES,
        NAMES,
        on_bad=on_bad,
        min_side=min_side,
        max_pixels=max_pixels,
        workers=workers,
        recheck=recheck,
    )
    tasks = _task_slugs(path, sets)
    names = slugs([image_set.name for image_set in sets])
    photographs = _photograph_names([image_set.files["before"] for image_set in sets])
    read = []
    for image_set, task, name, photograph in zip(sets, tasks, names, photographs, strict=True):
        credit = (image_set.licence or licence, image_set.attribution or attribution)
        read.append(_pair_of(image_set, task, name, photograph, credit, max_pixels))
    digests = [(image_set.digests[0], image_set.digests[1]) for image_set in sets]
    return join_chains(read, digests), left_out


def _task_slugs(path: str | Path, sets: Sequence[ImageSet]) -> list[str]:
    """The task of each set as names spell it; where none is named, it is that of the path."""
    home = Path(path).expanduser().resolve().stem
    tasks = [image_set.task or home for image_set in sets]
    task_names = list(dict.fromkeys(tasks))
    by_task = dict(zip(task_names, slugs(task_names), strict=True))
    return [by_task[task] for task in tasks]


def _pair_of(
    image_set: ImageSet,
    task: str,
    name: str,
    photograph: str,
    credit: tuple[str, str],
    max_pixels: int,
) -> Pair:
    """The pair of a set; `credit` is its licence and its attribution."""
    licence, attribution = credit
    return Pair(
        task=task,
        name=name,
        before=ImageFile(str(image_set.files["before"].absolute()), max_pixels),
        after=ImageFile(str(image_set.files["after"].absolute()), max_pixels),
        instruction=image_set.instruction,
        licence=licence,
        attribution=attribution,
        photograph=photograph,
        pixels=" ".join(image_set.digests),
        digest=image_set.sources[0],
        sizes=(image_set.sizes[0], image_set.sizes[1]),
    )


def _photograph_names(files: Sequence[Path]) -> list[str]:
    """Name the pictures that pairs start from: equal where the files' names, less the role, are."""
    stems = []
    for file in files:
        stem = file.stem
        for ending in (*ENDINGS, *NAMES.prompts):
            if ending in NAMES.prompts and not (file.parent / PROMPTS).is_file():
                continue
            if stem.lower().endswith(ending):
                stem = stem[: -len(ending)]
        stems.append(file.parent.name if stem.lower() in SIDES else stem)
    unique = list(dict.fromkeys(stems))
    by_stem = dict(zip(unique, slugs(unique), strict=True))
    return [by_stem[stem] for stem in stems]
