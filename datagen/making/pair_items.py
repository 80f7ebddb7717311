"""From pairs that somebody else edited to items: any two pairs of one task make an analogy."""

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from datagen.making.build_notes import Dropped, Note
from datagen.making.filters import disagree
from datagen.making.pair_panels import ready
from datagen.making.photograph_items import Made
from datagen.planning.compositions import Described
from datagen.planning.item_table import Items, key_of
from datagen.planning.seeding import draw, generator
from datagen.planning.source_roles import pair_role, panel_of
from datagen.recipe.schema import Recipe
from datagen.sources import Pair
from datagen.sources.image_files import slugs
from datagen.sources.pair_sources import read_pairs
from lorweb_bench.errors import InputError, did_you_mean
from lorweb_bench.protocol import ROLES as PANELS

REVERSED = "-reversed"
PAIRED = np.dtype(
    [("key", np.uint64), ("task", np.int32), ("first", np.int32), ("second", np.int32)]
)


@dataclass(frozen=True)
class PlannedPairs:
    """One item before it is made: two pairs of one task."""

    key: str
    split: str
    transformation: str
    first: Pair
    second: Pair


@dataclass(frozen=True)
class PairWork:
    """What is needed to make any item of one split from pairs."""

    recipe: Recipe
    transformations: Mapping[str, Described]

    def make(self, item: PlannedPairs) -> Made | Dropped:
        """The item, with a fitted to the size of b; dropped when a pair does not pass `filters`."""
        settings = (panel_of(self.recipe), self.recipe.seed, self.recipe.filters)
        first, second = ready(item.first, *settings), ready(item.second, *settings)
        if first.files is not None and first.size != second.size:
            first = ready(item.first, *settings, second.size)
        if first.files is None or second.files is None:
            return Dropped(first.failure or second.failure or "")
        files = dict(zip(PANELS, (*first.files, *second.files), strict=True))
        made = Made(
            {role: (data, settings[0].format) for role, data in files.items()},
            self._record(item, second.size),
        )
        return Dropped("clip_direction") if disagree(self.recipe.filters, made.images) else made

    def _record(self, item: PlannedPairs, size: tuple[int, int]) -> dict[str, Any]:
        spec, both = self.transformations[item.transformation], (item.first, item.second)
        return {
            "id": item.key,
            "transformation": item.transformation,
            "family": spec["family"],
            "kind": spec["kind"],
            "tier": spec["tier"],
            "instruction": item.second.instruction or spec["instruction"],
            "a_source": item.first.photograph,
            "b_source": item.second.photograph,
            "licence": "; ".join(dict.fromkeys(pair.licence for pair in both)),
            "attribution": "; ".join(dict.fromkeys(pair.attribution for pair in both)),
            "width": size[0],
            "height": size[1],
        }


@dataclass(frozen=True)
class Collected:
    """The pairs by task, the tasks held out, the role of every photograph, and what the sources had to say."""

    tasks: Mapping[str, Sequence[Pair]]
    held: Collection[str]
    roles: Mapping[str, str]
    notes: tuple[Note, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # by task: what the manifest says of how it was made
    fixed: bool = (
        False  # quadruplets: the first pair of two is (a, a_prime), the second (b, b_prime)
    )

    @property
    def names(self) -> dict[str, list[str]]:
        """The photographs by role."""
        return {
            role: sorted(n for n, r in self.roles.items() if r == role)
            for role in ("train", "dev", "a", "b")
        }

    @property
    def pixels(self) -> dict[str, str]:
        """The hashes of the pairs' images by name."""
        return {pair.name: pair.pixels for group in self.tasks.values() for pair in group}


def collect(recipe: Recipe, workers: int = 1) -> Collected:
    """Read the pairs of a recipe and give each photograph a role.

    All of it is `train` unless the recipe gives other shares; see `pair_role`.
    InputError for an unknown held-out task, with the nearest name, and for sources without two pairs of one task.
    """
    read = read_pairs(recipe, workers)
    pairs = list(read.pairs)
    forward = list(dict.fromkeys(pair.task for pair in pairs))
    if recipe.source.directions == "both":
        if both := [name for name in forward if name + REVERSED in forward]:
            raise InputError(
                f"{recipe.source.path} has the task {both[0] + REVERSED!r}, as {both[0]!r} used backwards would be called; rename its "
                "folder, or leave source.directions at forward."
            )
        pairs += [_reverse(pair) for pair in pairs]
    tasks: dict[str, list[Pair]] = {}
    for pair in pairs:
        tasks.setdefault(pair.task, []).append(pair)
    if max(map(len, tasks.values()), default=0) < 2:
        left = (
            f" ({len(told)} were left out, the first: {told[0]})"
            if (told := [note for note in read.notes if note.filter])
            else ""
        )
        raise InputError(
            f"{recipe.source.path}: no task has two pairs{left}, and an analogy is made of two; put pairs of one edit into one folder."
        )
    notes = read.notes
    if recipe.is_suite and (count := sum(not pair.as_b for pair in read.pairs)):
        notes = (
            *notes,
            Note(
                f"{count} pairs start or end where another edit ends or starts: as a b they would show an answer"
            ),
        )
    held = held_out(recipe, forward)
    held |= {name + REVERSED for name in held if name + REVERSED in tasks}
    trained = {
        pair.photograph for name, group in tasks.items() if name not in held for pair in group
    }
    roles = {
        name: pair_role(recipe, name, name in trained)
        for name in sorted({pair.photograph for pair in pairs})
    }
    return Collected(
        tasks, held, roles, notes, read.parameters, recipe.source.kind == "quadruplets"
    )


def held_out(recipe: Recipe, tasks: Sequence[str]) -> set[str]:
    """The tasks that `tiers.new_task` holds out: by name, as many as it says in an order by the seed, or all.

    Upper case, spaces, signs and a number before a name do not matter. InputError, with the nearest name, for one that is not there.
    """
    wanted = recipe.tiers.new_task
    if wanted == "all":
        return set(tasks)
    if isinstance(wanted, int):
        if not 0 <= wanted < len(tasks):
            raise InputError(
                f"tiers.new_task: {wanted} tasks cannot be held out, {recipe.source.path} has {len(tasks)}."
            )
        return set(sorted(tasks, key=lambda name: draw(recipe.seed, "new_task", name))[:wanted])
    named = _by_letters(tasks)
    for name in wanted:
        if _letters(name) not in named:
            hint = did_you_mean(
                _letters(name), named, f"there are {', '.join(tasks)}.", shown=named
            )
            raise InputError(f"There is no task for tiers.new_task: {name!r}; {hint}")
    return {named[_letters(name)] for name in wanted}


def _by_letters(tasks: Sequence[str]) -> dict[str, str]:
    """Tasks by the letters of their names, and without the number before it where that leaves one task alone."""
    bare = [_letters(name).lstrip("0123456789") for name in tasks]
    alone = {
        short: name
        for short, name in zip(bare, tasks, strict=True)
        if short and bare.count(short) == 1
    }
    return {**alone, **{_letters(name): name for name in tasks}}


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", slugs([name])[0])


def _reverse(pair: Pair) -> Pair:
    instruction = f"undo this edit: {pair.instruction}" if pair.instruction else ""
    return replace(
        pair,
        task=pair.task + REVERSED,
        name=pair.name + REVERSED,
        before=pair.after,
        after=pair.before,
        instruction=instruction,
    )


def plan_pairs(
    recipe: Recipe, collected: Collected, training: Mapping[str, Described] | None
) -> tuple[dict[str, Described], dict[str, Items[PlannedPairs]]]:
    """The tasks as the manifest lists them, and the items by split.

    Of each task every pair serves as (a, a_prime) for `analogies_per_pair` others, or for all. Training data takes both from the
    role train (or dev); a suite takes a and b from their roles, seen from tasks that `training` has and unseen from the others.
    """
    if collected.fixed and recipe.is_suite:
        raise InputError(
            "Quadruplets make training data (splits train and dev); a suite needs pairs, whose photographs can be kept apart."
        )
    held = collected.held
    if training is not None and (both := sorted(set(held) & set(training))):
        raise InputError(
            f"tiers.new_task: {both[0]!r} is trained on in the dataset that tiers.relative_to names."
        )
    items: dict[str, Items[PlannedPairs]] = {}
    names = list(collected.tasks)
    for split in recipe.splits:
        wanted = {t: p for t, p in collected.tasks.items() if (t in held) == (split == "unseen")}
        if split == "seen":
            wanted = {t: p for t, p in wanted.items() if t in (training or {})}
        found = np.fromiter(
            (
                row
                for task in wanted
                for row in _analogies(recipe, collected, split, names.index(task), task)
            ),
            PAIRED,
        )
        if not len(found):
            raise InputError(
                f"The split {split} would be empty: no task has pairs for it; see tiers.new_task and source.shares."
            )
        items[split] = Items(
            _limited(recipe, split, found), functools.partial(_planned, collected, split, names)
        )
    used = {names[i] for group in items.values() for i in np.unique(group.rows["task"])}
    listed = {
        task: _task(
            task,
            group,
            "new_task" if task in held else "seen_single",
            collected.parameters.get(task, {}),
        )
        for task, group in collected.tasks.items()
        if task in used
    }
    for name, info in (training or {}).items():
        listed.setdefault(name, {**info, "tier": info["tier"], "trained": True})
    return listed, items


def _planned(
    collected: Collected, split: str, names: Sequence[str], key: str, row: Any
) -> PlannedPairs:
    task = names[row["task"]]
    return PlannedPairs(
        key, split, task, collected.tasks[task][row["first"]], collected.tasks[task][row["second"]]
    )


def _analogies(
    recipe: Recipe, collected: Collected, split: str, number: int, task: str
) -> Iterator[tuple[int, int, int, int]]:
    """The rows of a task's analogies: the number of their key, that of the task, and the places of both pairs in it."""
    group = collected.tasks[task]
    place = {id(pair): i for i, pair in enumerate(group)}
    first_role, second_role = ("a", "b") if recipe.is_suite else (split, split)
    if collected.fixed:
        couples: Iterator[tuple[Pair, Pair]] = zip(group[::2], group[1::2], strict=True)
    else:
        couples = _couples(recipe, collected, task, group, first_role, second_role)
    for first, second in couples:
        if (
            collected.roles[first.photograph] == first_role
            and collected.roles[second.photograph] == second_role
        ):
            key = key_of(draw(recipe.seed, recipe.name, split, task, first.name, second.name))
            yield key, number, place[id(first)], place[id(second)]


def _couples(
    recipe: Recipe,
    collected: Collected,
    task: str,
    group: Sequence[Pair],
    first_role: str,
    second_role: str,
) -> Iterator[tuple[Pair, Pair]]:
    firsts = [pair for pair in group if collected.roles[pair.photograph] == first_role]
    seconds = [
        pair
        for pair in group
        if collected.roles[pair.photograph] == second_role and _shown(recipe, collected, task, pair)
    ]
    for first in firsts:
        others = [
            pair
            for pair in seconds
            if pair.photograph != first.photograph and _same_form(first, pair, recipe)
        ]
        if recipe.analogies_per_pair == "all" or len(others) <= recipe.analogies_per_pair:
            yield from ((first, other) for other in others)
        else:
            chosen = generator(recipe.seed, "couples", task, first.name).permutation(len(others))[
                : recipe.analogies_per_pair
            ]
            yield from ((first, others[int(i)]) for i in sorted(chosen))


def _shown(recipe: Recipe, collected: Collected, task: str, pair: Pair) -> bool:
    """Whether a pair may be (b, b_prime): in a suite not where it would show the answer of another item.

    Where edits are used in both directions, all pairs of one photograph are used in one, which the seed chooses.
    """
    if not recipe.is_suite:
        return True
    if recipe.source.directions == "forward":
        return pair.as_b
    backwards = task.endswith(REVERSED) and task.removesuffix(REVERSED) in collected.tasks
    return pair.as_b and backwards == bool(draw(recipe.seed, "direction", pair.photograph)[0] & 1)


def _same_form(first: Pair, second: Pair, recipe: Recipe) -> bool:
    """Whether the ratios width / height of two pairs are near enough for one analogy."""
    tolerance = recipe.filters.aspect_tolerance
    if tolerance is None or first.aspect is None or second.aspect is None:
        return True
    return abs(first.aspect / second.aspect - 1) <= tolerance


def _limited(recipe: Recipe, split: str, found: np.ndarray) -> np.ndarray:
    """At most as many items as the split asks for, the tasks in turn; a suite's in the order of keys, which groups nothing."""
    count = recipe.splits[split]
    if count != "all" and len(found) > count:
        order = np.lexsort(
            (found["key"], found["task"])
        )  # the tasks one after the other, each by key
        tasks, begins = np.unique(found["task"][order], return_index=True)
        turns = np.empty(len(found), np.int64)
        turns[order] = np.arange(len(found)) - begins[np.searchsorted(tasks, found["task"][order])]
        found = found[np.sort(np.lexsort((found["key"], turns))[:count])]
    # Training data keeps the pairs of a task together, so that a panel is encoded once; its loader shuffles.
    return found[np.argsort(found["key"])] if recipe.is_suite else found


def _task(task: str, group: Sequence[Pair], tier: str, parameters: Mapping[str, Any]) -> Described:
    instruction = next((pair.instruction for pair in group if pair.instruction), "")
    return {
        "family": task,
        "kind": "task",
        "parameters": dict(parameters),
        "instruction": instruction,
        "tier": tier,
        "deterministic": False,
        "trained": tier == "seen_single",
    }
