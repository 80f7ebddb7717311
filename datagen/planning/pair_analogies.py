"""Which analogies are made of pairs: any two pairs of one task make one."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datagen.planning.compositions import Described
from datagen.planning.item_table import ItemTable, key_number
from datagen.planning.pair_roles import REVERSED, CollectedPairs
from datagen.planning.seeding import draw, generator
from datagen.recipe.schema import Recipe
from datagen.sources.source import Pair
from lorweb_bench.errors import InputError

ROW = np.dtype([("key", np.uint64), ("task", np.int32), ("first", np.int32), ("second", np.int32)])


@dataclass(frozen=True)
class PlannedAnalogy:
    """One item before it is made: two pairs of one task, and further ones that it shows."""

    key: str
    split: str
    transformation: str
    first: Pair
    second: Pair
    further: tuple[Pair, ...] = ()


def plan_pairs(
    recipe: Recipe, collected: CollectedPairs, training: Mapping[str, Described] | None
) -> tuple[dict[str, Described], dict[str, ItemTable[PlannedAnalogy]]]:
    """Plan the analogies of every split.

    Of each task every pair serves as (a, a_prime) for `analogies_per_pair` others, or for all.
    Training data takes both pairs from one role, train or dev. A suite takes a and b from their
    roles: seen from tasks that `training` has, and unseen from the others.

    Args:
        recipe: The recipe.
        collected: Its pairs.
        training: The tasks of the dataset that a suite is relative to.

    Returns:
        The tasks as the manifest lists them, and the items by split.

    Raises:
        InputError: A split would be empty, a held-out task is trained on, or quadruplets are to
            make a suite.
    """
    if collected.fixed and recipe.is_suite:
        raise InputError(
            "Quadruplets make training data (splits train and dev); a suite needs pairs, whose "
            "photographs can be kept apart."
        )
    trained = training or {}
    if both := sorted(set(collected.held) & set(trained)):
        raise InputError(
            f"tiers.new_task: {both[0]!r} is trained on in the dataset that tiers.relative_to "
            "names."
        )
    items = {split: _plan_split(recipe, collected, split, trained) for split in recipe.splits}
    names = list(collected.tasks)
    used: set[str] = set()
    for table in items.values():
        used.update(names[i] for i in np.unique(table.rows["task"]))
    listed = {}
    for task, group in collected.tasks.items():
        if task in used:
            tier = "new_task" if task in collected.held else "seen_single"
            listed[task] = _listed(task, group, tier, collected.parameters.get(task, {}))
    for name, info in trained.items():
        listed.setdefault(name, {**info, "trained": True})
    return listed, items


def _plan_split(
    recipe: Recipe, collected: CollectedPairs, split: str, training: Mapping[str, Described]
) -> ItemTable[PlannedAnalogy]:
    names = list(collected.tasks)
    split_tasks = [name for name in names if (name in collected.held) == (split == "unseen")]
    if split == "seen":
        split_tasks = [name for name in split_tasks if name in training]
    analogies = itertools.chain.from_iterable(
        _analogies(recipe, collected, split, names.index(task), task) for task in split_tasks
    )
    rows = np.fromiter(analogies, ROW)
    if not len(rows):
        raise InputError(
            f"The split {split} would be empty: no task has pairs for it; see tiers.new_task and "
            "source.shares."
        )
    to_item = functools.partial(_planned_analogy, recipe, collected, split, names)
    return ItemTable(_limit(recipe, split, rows), to_item)


def _planned_analogy(
    recipe: Recipe,
    collected: CollectedPairs,
    split: str,
    names: Sequence[str],
    key: str,
    row: Any,
) -> PlannedAnalogy:
    task = names[row["task"]]
    first, second = (collected.tasks[task][row[column]] for column in ("first", "second"))
    further: tuple[Pair, ...] = ()
    if recipe.exemplars > 1:
        further = _further_pairs(recipe, collected, split, key, (first, second))
    return PlannedAnalogy(key, split, task, first, second, further)


def _further_pairs(
    recipe: Recipe, collected: CollectedPairs, split: str, key: str, pairs: tuple[Pair, Pair]
) -> tuple[Pair, ...]:
    """Further exemplars of an item, of photographs that may be its a; fewer where a task is short.

    Args:
        recipe: The recipe, which says how many pairs an item shows.
        collected: Its pairs.
        split: The split of the item.
        key: The item's key, which the choice is seeded with.
        pairs: Its (a, a_prime) and (b, b_prime).
    """
    role = "a" if recipe.is_suite else split
    photographs = {pair.photograph for pair in pairs}
    by_photograph: dict[str, Pair] = {}
    for pair in collected.tasks[pairs[0].task]:
        fits = collected.roles[pair.photograph] == role and _same_aspect(pair, pairs[1], recipe)
        if fits and pair.photograph not in photographs:
            by_photograph.setdefault(pair.photograph, pair)
    others = list(by_photograph.values())
    order = generator(recipe.seed, "exemplars", split, key).permutation(len(others))
    return tuple(others[int(i)] for i in order[: recipe.exemplars - 1])


def _analogies(
    recipe: Recipe, collected: CollectedPairs, split: str, number: int, task: str
) -> Iterator[tuple[int, int, int, int]]:
    """The rows of a task's analogies.

    Yields:
        The number of an item's key, that of its task, and the places of both pairs in the task.
    """
    group, roles = collected.tasks[task], collected.roles
    positions = {id(pair): i for i, pair in enumerate(group)}
    first_role, second_role = ("a", "b") if recipe.is_suite else (split, split)
    couples: Iterator[tuple[Pair, Pair]]
    if recipe.answerless:
        firsts = [pair for pair in group if pair.after is not None]
        seconds = [pair for pair in group if pair.after is None]
        # In such a suite a photograph may be an a and a b, of different tasks: no answer is there.
        roles = {pair.photograph: "" for pair in group}
        first_role = second_role = ""
        couples = _couples(recipe, task, firsts, seconds)
    elif collected.fixed:
        couples = zip(group[::2], group[1::2], strict=True)
    else:
        firsts = [pair for pair in group if roles[pair.photograph] == first_role]
        seconds = [pair for pair in group if roles[pair.photograph] == second_role]
        seconds = [pair for pair in seconds if _may_be_b(recipe, collected, task, pair)]
        couples = _couples(recipe, task, firsts, seconds)
    for first, second in couples:
        if (roles[first.photograph], roles[second.photograph]) == (first_role, second_role):
            key = key_number(draw(recipe.seed, recipe.name, split, task, first.name, second.name))
            yield key, number, positions[id(first)], positions[id(second)]


def _couples(
    recipe: Recipe, task: str, firsts: Sequence[Pair], seconds: Sequence[Pair]
) -> Iterator[tuple[Pair, Pair]]:
    """Two pairs for each analogy: each of `firsts` with some of `seconds`, as many as asked for."""
    most = recipe.analogies_per_pair
    for first in firsts:
        others = [
            pair
            for pair in seconds
            if pair.photograph != first.photograph and _same_aspect(first, pair, recipe)
        ]
        if most != "all" and len(others) > most:
            order = generator(recipe.seed, "couples", task, first.name).permutation(len(others))
            others = [others[int(i)] for i in sorted(order[:most])]
        for other in others:
            yield first, other


def _may_be_b(recipe: Recipe, collected: CollectedPairs, task: str, pair: Pair) -> bool:
    """Whether a pair may be (b, b_prime): in a suite not where it would show another answer.

    Where edits are used in both directions, all pairs of one photograph are used in one, which the
    seed chooses.
    """
    if not recipe.is_suite:
        return True
    if recipe.source.directions == "forward":
        return pair.as_b
    backwards = task.endswith(REVERSED) and task.removesuffix(REVERSED) in collected.tasks
    return pair.as_b and backwards == bool(draw(recipe.seed, "direction", pair.photograph)[0] & 1)


def _same_aspect(first: Pair, second: Pair, recipe: Recipe) -> bool:
    """Whether the ratios width / height of two pairs are near enough for one analogy."""
    tolerance = recipe.filters.aspect_tolerance
    if tolerance is None or first.aspect is None or second.aspect is None:
        return True
    return abs(first.aspect / second.aspect - 1) <= tolerance


def _limit(recipe: Recipe, split: str, rows: np.ndarray) -> np.ndarray:
    """At most as many items as the split asks for, the tasks in turn.

    A suite's come in the order of keys, which groups nothing. Training data keeps the pairs of a
    task together, so that a panel is encoded once; its loader shuffles.
    """
    count = recipe.splits[split]
    if count != "all" and len(rows) > count:
        order = np.lexsort((rows["key"], rows["task"]))  # task after task, each by key
        tasks, begins = np.unique(rows["task"][order], return_index=True)
        turns = np.empty(len(rows), np.int64)
        turns[order] = np.arange(len(rows)) - begins[np.searchsorted(tasks, rows["task"][order])]
        rows = rows[np.sort(np.lexsort((rows["key"], turns))[:count])]
    return rows[np.argsort(rows["key"])] if recipe.is_suite else rows


def _listed(
    task: str, group: Sequence[Pair], tier: str, parameters: Mapping[str, Any]
) -> Described:
    """A task as the manifest lists it."""
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
