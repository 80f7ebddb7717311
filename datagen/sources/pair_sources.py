"""Reading the pairs that a recipe names, of whatever kind, and leaving out what its filters do not let pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datagen.making.build_notes import Note
from datagen.recipe.schema import Recipe
from datagen.sources import Pair
from datagen.sources.near_duplicates import Likenesses, looks


@dataclass(frozen=True)
class Read:
    """The pairs, what there is to say about them, and by task what the manifest says of how it was made."""

    pairs: Sequence[Pair]
    notes: tuple[Note, ...]
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_pairs(recipe: Recipe, workers: int = 1) -> Read:
    """The pairs of the recipe's source, less those that `filters` leave out.

    InputError as the source says, and for files that are missing or unreadable with `on_bad: fail`.
    """
    read, filters = _read(recipe, workers), recipe.filters
    if not filters.near_duplicates and filters.aspect_tolerance is None:
        return read
    found = read.pairs
    kept: list[Pair] = []
    by_task: dict[str, Likenesses] = {}
    more: list[Note] = []
    for pair, look in zip(found, looks([pair.before for pair in found], workers), strict=True):
        other = (
            by_task.setdefault(pair.task, Likenesses()).like(pair.name, look)
            if filters.near_duplicates
            else None
        )
        if other is None:
            kept.append(replace(pair, aspect=look.width / look.height))
        else:
            more.append(Note(f"{pair.name} looks like {other}", "near_duplicate"))
    if (
        recipe.source.kind == "quadruplets"
    ):  # they stand in twos, and one without the other is nothing
        names = {pair.name for pair in kept}
        whole = {
            one.name
            for first, second in zip(found[::2], found[1::2], strict=True)
            if {first.name, second.name} <= names
            for one in (first, second)
        }
        kept = [pair for pair in kept if pair.name in whole]
    return replace(read, pairs=kept, notes=(*read.notes, *more))


def _read(recipe: Recipe, workers: int) -> Read:
    section, path = recipe.source, recipe.source.path
    assert path is not None
    common: dict[str, Any] = {
        "min_side": max(recipe.filters.minimum_side, recipe.panel.square or 16),
        "workers": workers,
    }
    if section.kind == "relation252k":
        from datagen.sources.relation252k import relation252k

        given = {
            key: getattr(section, key)
            for key in ("licence", "attribution")
            if key in section.model_fields_set
        }
        found, ingest = relation252k(path, section.on_bad, **given, **common)
        return Read(found, (*map(Note, ingest.lines()), *(one.note for one in ingest.skipped)))
    if section.kind == "editor":
        from datagen.editors.edited_pairs import edited_pairs

        return Read(*edited_pairs(recipe, workers))
    common |= {"licence": section.licence, "attribution": section.attribution}
    if section.kind == "hub":
        from datagen.sources.hub import hub

        keep = Path(section.keep).expanduser() if section.keep else None
        found, skipped = hub(path, section.hub, keep, section.on_bad, **common)
    else:
        from datagen.sources.pair_reader import pairs
        from datagen.sources.quadruplets import quadruplets

        found, skipped = (pairs if section.kind == "pairs" else quadruplets)(
            path, section.on_bad, **common
        )
    return Read(found, tuple(one.note for one in skipped))
