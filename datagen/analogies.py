"""From pairs that somebody else edited to items: any two pairs of one task make an analogy."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from datagen.assemble import Made, fit
from datagen.filters import failed
from datagen.notes import Dropped, Note
from datagen.pair_sources import read_pairs
from datagen.recipe import Recipe
from datagen.roles import pair_role, panel_of
from datagen.sources import Pair, Panel, pair_panels
from datagen.sources.decoding import slugs
from datagen.tiers import Described, draw, generator
from lorweb_bench import images
from lorweb_bench.errors import InputError
from lorweb_bench.registry import unknown_name

REVERSED = "-reversed"
KEPT_PANELS = 512


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
        panel = panel_of(self.recipe)
        panels: dict[str, tuple[bytes, str]] = {}
        (a, a_prime), (b, b_prime) = (_panels(pair, panel, self.recipe.seed) for pair in (item.first, item.second))
        for before, after in ((a, a_prime), (b, b_prime)):
            if (failure := failed(before, after, self.recipe.filters)) is not None:
                return Dropped(failure)
        size = (b.shape[1], b.shape[0])
        for role, image in (("a", a), ("a_prime", a_prime), ("b", b), ("b_prime", b_prime)):
            pair = item.first if role.startswith("a") else item.second
            if image.shape == b.shape:
                panels[role] = (_encoded(pair, panel, self.recipe.seed, role.endswith("prime")), panel.format)
            else:
                panels[role] = (images.encode(fit(image, size), panel.format), panel.format)
        return Made(panels, self._record(item, size))

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


@lru_cache(maxsize=KEPT_PANELS)
def _panels(pair: Pair, panel: Panel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return pair_panels(pair, panel, seed)


@lru_cache(maxsize=2 * KEPT_PANELS)
def _encoded(pair: Pair, panel: Panel, seed: int, after: bool) -> bytes:
    """A panel as a file: every panel is encoded once, however many analogies it stands in."""
    return images.encode(_panels(pair, panel, seed)[after], panel.format)


@dataclass(frozen=True)
class Collected:
    """The pairs by task, the tasks held out, the role of every photograph, and what the sources had to say."""

    tasks: Mapping[str, Sequence[Pair]]
    held: Collection[str]
    roles: Mapping[str, str]
    notes: tuple[Note, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by task: what the manifest says of how it was made
    fixed: bool = False  # quadruplets: the first pair of two is (a, a_prime), the second (b, b_prime)

    @property
    def names(self) -> dict[str, list[str]]:
        """The photographs by role."""
        return {role: sorted(n for n, r in self.roles.items() if r == role) for role in ("train", "dev", "a", "b")}


def collect(recipe: Recipe, workers: int = 1) -> Collected:
    """Read the pairs of a recipe and give each photograph a role.

    All of it is `train` unless the recipe gives other shares; see `pair_role`.
    InputError for an unknown held-out task, with the nearest name, and for sources without two pairs of one task.
    """
    read = read_pairs(recipe, workers)
    pairs = list(read.pairs)
    if recipe.source.directions == "both":
        pairs += [_reverse(pair) for pair in pairs]
    tasks: dict[str, list[Pair]] = {}
    for pair in pairs:
        tasks.setdefault(pair.task, []).append(pair)
    if max(map(len, tasks.values()), default=0) < 2:
        raise InputError(
            f"{recipe.source.path}: no task has two pairs, and an analogy is made of two; put pairs of one edit into one folder."
        )
    held = held_out(recipe, [name for name in tasks if not name.endswith(REVERSED)])
    held |= {name + REVERSED for name in held if name + REVERSED in tasks}
    trained = {pair.photograph for name, group in tasks.items() if name not in held for pair in group}
    roles = {name: pair_role(recipe, name, name in trained) for name in sorted({pair.photograph for pair in pairs})}
    return Collected(tasks, held, roles, read.notes, read.parameters, recipe.source.kind == "quadruplets")


def held_out(recipe: Recipe, tasks: Sequence[str]) -> set[str]:
    """The tasks that `tiers.new_task` holds out: by name, as many as it says in an order by the seed, or all.

    Upper case, spaces and signs of a name do not matter. InputError, with the nearest name, for one that is not there.
    """
    wanted = recipe.tiers.new_task
    if wanted == "all":
        return set(tasks)
    if isinstance(wanted, int):
        if not 0 <= wanted < len(tasks):
            raise InputError(f"tiers.new_task: {wanted} tasks cannot be held out, {recipe.source.path} has {len(tasks)}.")
        return set(sorted(tasks, key=lambda name: draw(recipe.seed, "new_task", name))[:wanted])
    by_letters = {_letters(name): name for name in tasks}
    for name in wanted:
        if _letters(name) not in by_letters:
            raise unknown_name("task for tiers.new_task:", name, tasks)
    return {by_letters[_letters(name)] for name in wanted}


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", slugs([name])[0])


def _reverse(pair: Pair) -> Pair:
    instruction = f"undo this edit: {pair.instruction}" if pair.instruction else ""
    return replace(
        pair, task=pair.task + REVERSED, name=pair.name + REVERSED, before=pair.after, after=pair.before, instruction=instruction
    )


def plan_pairs(
    recipe: Recipe, collected: Collected, training: Mapping[str, Described] | None
) -> tuple[dict[str, Described], dict[str, list[PlannedPairs]]]:
    """The tasks as the manifest lists them, and the items by split.

    Of each task every pair serves as (a, a_prime) for `analogies_per_pair` others, or for all. Training data takes both from the
    role train (or dev); a suite takes a and b from their roles, seen from tasks that `training` has and unseen from the others.
    """
    if collected.fixed and recipe.is_suite:
        raise InputError("Quadruplets make training data (splits train and dev); a suite needs pairs, whose photographs can be kept apart.")
    held = collected.held
    if training is not None and (both := sorted(set(held) & set(training))):
        raise InputError(f"tiers.new_task: {both[0]!r} is trained on in the dataset that tiers.relative_to names.")
    items: dict[str, list[PlannedPairs]] = {}
    for split in recipe.splits:
        wanted = {t: p for t, p in collected.tasks.items() if (t in held) == (split == "unseen")}
        if split == "seen":
            wanted = {t: p for t, p in wanted.items() if t in (training or {})}
        found = [item for task, group in wanted.items() for item in _analogies(recipe, collected, split, task, group)]
        if not found:
            raise InputError(f"The split {split} would be empty: no task has pairs for it; see tiers.new_task and source.shares.")
        items[split] = _limited(recipe, split, found)
    used = {item.transformation for group in items.values() for item in group}
    listed = {
        task: _task(task, group, "new_task" if task in held else "seen_single", collected.parameters.get(task, {}))
        for task, group in collected.tasks.items()
        if task in used
    }
    for name, info in (training or {}).items():
        listed.setdefault(name, {**info, "tier": info["tier"], "trained": True})
    return listed, items


def _analogies(recipe: Recipe, collected: Collected, split: str, task: str, group: Sequence[Pair]) -> Iterator[PlannedPairs]:
    first_role, second_role = ("a", "b") if recipe.is_suite else (split, split)
    if collected.fixed:
        couples: Iterator[tuple[Pair, Pair]] = zip(group[::2], group[1::2], strict=True)
    else:
        couples = _couples(recipe, collected, task, group, first_role, second_role)
    for first, second in couples:
        if collected.roles[first.photograph] == first_role and collected.roles[second.photograph] == second_role:
            key = draw(recipe.seed, recipe.name, split, task, first.name, second.name).hex()[:16]
            yield PlannedPairs(key, split, task, first, second)


def _couples(
    recipe: Recipe, collected: Collected, task: str, group: Sequence[Pair], first_role: str, second_role: str
) -> Iterator[tuple[Pair, Pair]]:
    firsts = [pair for pair in group if collected.roles[pair.photograph] == first_role]
    seconds = [pair for pair in group if collected.roles[pair.photograph] == second_role]
    for first in firsts:
        others = [pair for pair in seconds if pair.photograph != first.photograph and _same_form(first, pair, recipe)]
        if recipe.analogies_per_pair == "all" or len(others) <= recipe.analogies_per_pair:
            yield from ((first, other) for other in others)
        else:
            chosen = generator(recipe.seed, "couples", task, first.name).permutation(len(others))[: recipe.analogies_per_pair]
            yield from ((first, others[int(i)]) for i in sorted(chosen))


def _same_form(first: Pair, second: Pair, recipe: Recipe) -> bool:
    """Whether the ratios width / height of two pairs are near enough for one analogy."""
    tolerance = recipe.filters.aspect_tolerance
    if tolerance is None or first.aspect is None or second.aspect is None:
        return True
    return abs(first.aspect / second.aspect - 1) <= tolerance


def _limited(recipe: Recipe, split: str, found: list[PlannedPairs]) -> list[PlannedPairs]:
    """At most as many items as the split asks for, the tasks in turn; a suite's in the order of keys, which groups nothing."""
    count = recipe.splits[split]
    if count != "all" and len(found) > count:
        turns: dict[str, int] = {}
        ranked = []
        for item in sorted(found, key=lambda item: item.key):
            turns[item.transformation] = turns.get(item.transformation, 0) + 1
            ranked.append((turns[item.transformation], item.key))
        kept = {key for _, key in sorted(ranked)[:count]}
        found = [item for item in found if item.key in kept]
    # Training data keeps the pairs of a task together, so that a panel is encoded once; its loader shuffles.
    return sorted(found, key=lambda item: item.key) if recipe.is_suite else found


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
