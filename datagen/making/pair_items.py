"""Items from pairs that somebody else edited: any two pairs of one task make an analogy."""

import functools
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from cachetools import LRUCache, cached

from datagen.making.build_notes import Dropped, ItemFailure, LeftOut, Note, failing_items
from datagen.making.filters import changes_disagree, failed_filter
from datagen.making.panels import fit
from datagen.making.photograph_items import Made
from datagen.planning.compositions import Described
from datagen.planning.item_table import ItemTable, key_number
from datagen.planning.seeding import draw, generator
from datagen.planning.source_roles import pair_role, panel_of
from datagen.recipe.schema import FiltersSection, Recipe
from datagen.sources.crops import Panel, cut_before, cut_pair
from datagen.sources.image_files import slugs
from datagen.sources.pair_reader import read_pairs
from datagen.sources.source import Pair
from lorweb_bench.data import images
from lorweb_bench.errors import InputError, did_you_mean
from lorweb_bench.protocol import FURTHER_PAIRS
from lorweb_bench.protocol import ROLES as PANEL_ROLES

REVERSED = "-reversed"
ROW = np.dtype([("key", np.uint64), ("task", np.int32), ("first", np.int32), ("second", np.int32)])
CACHE_BYTES = 512 * 2**20  # enough for 150 pairs of 1024 x 1024 pixels


@dataclass(frozen=True)
class PlannedAnalogy:
    """One item before it is made: two pairs of one task, and further ones that it shows."""

    key: str
    split: str
    transformation: str
    first: Pair
    second: Pair
    further: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class EncodedPair:
    """A pair as it goes into a shard.

    Attributes:
        size: Width and height of both panels, in pixels.
        files: The files of before and after, or of before alone where nobody edited it; None where
            the pair failed a filter.
        failure: The filter that the pair failed.
    """

    size: tuple[int, int]
    files: tuple[bytes, ...] | None
    failure: str | None

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        return sum(map(len, self.files or ())) + 1000


_encoded: LRUCache[Any, EncodedPair] = LRUCache(CACHE_BYTES, getsizeof=lambda pair: pair.nbytes)


@cached(_encoded)
def _encode_pair(
    pair: Pair,
    panel: Panel,
    seed: int,
    filters: FiltersSection,
    size: tuple[int, int] | None = None,
) -> EncodedPair:
    """Make the files of a pair's panels, fitted to `size` where it is given.

    Each is made once in a process, however many analogies it stands in, while it is in the cache.
    """
    if pair.after is None:
        return _encode_before(pair, panel, seed)
    before, after = cut_pair(pair, panel, seed)
    size = size or (before.shape[1], before.shape[0])
    with failing_items(f"the filters fail on {pair.name}"):
        failure = failed_filter(before, after, filters)
    if failure is not None:
        return EncodedPair((before.shape[1], before.shape[0]), None, failure)
    with failing_items(f"encoding the panels of {pair.name} fails"):
        first, second = (images.encode(fit(i, size), panel.format) for i in (before, after))
    return EncodedPair(size, (first, second), None)


def _encode_before(pair: Pair, panel: Panel, seed: int) -> EncodedPair:
    """Make the file of a picture that nobody edited."""
    before = cut_before(pair, panel, seed)
    size = before.shape[1], before.shape[0]
    with failing_items(f"encoding {pair.name} fails"):
        return EncodedPair(size, (images.encode(before, panel.format),), None)


@dataclass(frozen=True)
class PairItems:
    """Makes the items of one split from pairs.

    Attributes:
        recipe: The recipe.
        transformations: The tasks, as the manifest lists them.
    """

    recipe: Recipe
    transformations: Mapping[str, Described]

    def make_all(
        self, items: Iterable[PlannedAnalogy]
    ) -> Iterator[tuple[PlannedAnalogy, Made | Dropped]]:
        """Make items; each comes with what was made, or with the filter that it failed."""
        for item in items:
            try:
                result = self._make(item)
            except ItemFailure as failure:
                result = Dropped("failed", str(failure))
            yield item, result

    def _make(self, item: PlannedAnalogy) -> Made | Dropped:
        """Make an item, with a fitted to the size of b."""
        panel, seed, filters = panel_of(self.recipe), self.recipe.seed, self.recipe.filters
        first = _encode_pair(item.first, panel, seed, filters)
        second = _encode_pair(item.second, panel, seed, filters)
        if first.files is not None and first.size != second.size:
            first = _encode_pair(item.first, panel, seed, filters, second.size)
        if first.files is None or second.files is None:
            return Dropped(first.failure or second.failure or "")
        # Without an answer the last role has no file.
        files = zip(PANEL_ROLES, (*first.files, *second.files), strict=False)
        encoded = {role: (data, str(panel.format)) for role, data in files}
        if len(item.further) < self.recipe.exemplars - 1:
            return Dropped("exemplars")
        for roles, pair in zip(FURTHER_PAIRS, item.further, strict=False):
            encoded_pair = _encode_pair(pair, panel, seed, filters, second.size)
            if encoded_pair.files is None:
                return Dropped(encoded_pair.failure or "")
            for role, data in zip(roles, encoded_pair.files, strict=True):
                encoded[role] = (data, str(panel.format))
        with failing_items(f"filters.clip_direction fails on item {item.key}"):
            disagree = changes_disagree(filters, encoded)
        if disagree:
            return Dropped("clip_direction")
        pairs = (item.first, item.second, *item.further)
        digests = {pair.photograph: pair.digest for pair in pairs if pair.digest}
        return Made(encoded, self._record(item, second.size), digests)

    def _record(self, item: PlannedAnalogy, size: tuple[int, int]) -> dict[str, Any]:
        spec = self.transformations[item.transformation]
        pairs = (item.first, item.second, *item.further)
        further = [pair.photograph for pair in item.further]
        return {
            "id": item.key,
            "transformation": item.transformation,
            "family": spec["family"],
            "kind": spec["kind"],
            "tier": spec["tier"],
            "instruction": item.second.instruction or spec["instruction"],
            "a_source": item.first.photograph,
            "b_source": item.second.photograph,
            "licence": "; ".join(dict.fromkeys(pair.licence for pair in pairs)),
            "attribution": "; ".join(dict.fromkeys(pair.attribution for pair in pairs)),
            "width": size[0],
            "height": size[1],
            **({"further_sources": further} if further else {}),
        }


@dataclass(frozen=True)
class CollectedPairs:
    """The pairs of a recipe, and who plays which role.

    Attributes:
        tasks: The pairs by task.
        held: The tasks that are held out of training.
        roles: The role of every photograph.
        notes: What was left out, and what else there is to say.
        parameters: By task, what the manifest says of how it was made.
        fixed: Whether they are quadruplets: of every two pairs the first is (a, a_prime) and the
            second (b, b_prime).
    """

    tasks: Mapping[str, Sequence[Pair]]
    held: Collection[str]
    roles: Mapping[str, str]
    notes: tuple[Note, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fixed: bool = False

    @property
    def names(self) -> dict[str, list[str]]:
        """The photographs by role."""
        by_role: dict[str, list[str]] = {role: [] for role in ("train", "dev", "a", "b")}
        for name, role in sorted(self.roles.items()):
            by_role.setdefault(role, []).append(name)
        return {role: by_role[role] for role in ("train", "dev", "a", "b")}

    @property
    def pixels(self) -> dict[str, str]:
        """The pixel hashes of the pairs by name."""
        pairs = itertools.chain.from_iterable(self.tasks.values())
        return {pair.name: pair.pixels for pair in pairs}


def collect_pairs(recipe: Recipe, workers: int = 1) -> CollectedPairs:
    """Read the pairs of a recipe and give each photograph a role; see `pair_role`.

    Args:
        recipe: A recipe whose source is of pairs.
        workers: Processes that decode the images.

    Raises:
        InputError: A held-out task is not there (the error gives the nearest name), or no task has
            two pairs.
    """
    read = read_pairs(recipe, workers)
    pairs = list(read.pairs)
    forward = list(dict.fromkeys(pair.task for pair in pairs))
    if recipe.source.directions == "both":
        _refuse_reversed_names(recipe, forward)
        pairs += [_reverse(pair) for pair in pairs]
    tasks: dict[str, list[Pair]] = {}
    for pair in pairs:
        tasks.setdefault(pair.task, []).append(pair)
    if max(map(len, tasks.values()), default=0) < 2:
        left_out = [note for note in read.notes if isinstance(note, LeftOut)]
        why = f" ({len(left_out)} were left out, the first: {left_out[0]})" if left_out else ""
        raise InputError(
            f"{recipe.source.path}: no task has two pairs{why}, and an analogy is made of two; "
            "put pairs of one edit into one folder."
        )
    notes = (*read.notes, *_lonely(recipe, tasks))
    answering = sum(not pair.as_b for pair in read.pairs)
    if recipe.is_suite and answering:
        sentence = (
            f"{answering} pairs start or end where another edit ends or starts: "
            "as a b they would show an answer"
        )
        notes = (*notes, sentence)
    held = held_out(recipe, forward)
    held |= {name + REVERSED for name in held if name + REVERSED in tasks}
    trained = {pair.photograph for pair in pairs if pair.task not in held}
    names = sorted({pair.photograph for pair in pairs})
    roles = {name: pair_role(recipe, name, name in trained) for name in names}
    fixed = recipe.source.kind == "quadruplets"
    return CollectedPairs(tasks, held, roles, notes, read.parameters, fixed)


def _lonely(recipe: Recipe, tasks: Mapping[str, Sequence[Pair]]) -> list[LeftOut]:
    """The tasks that have one pair: they make no analogy."""
    reversed_too = recipe.source.directions == "both"
    return [
        LeftOut(name, "the task has one pair, and an analogy is made of two", "pairs_per_task")
        for name, group in tasks.items()
        if len(group) == 1 and not (reversed_too and name.endswith(REVERSED))
    ]


def _refuse_reversed_names(recipe: Recipe, tasks: Sequence[str]) -> None:
    """InputError when a task is called as another one used backwards would be."""
    for name in tasks:
        if name + REVERSED in tasks:
            raise InputError(
                f"{recipe.source.path} has the task {name + REVERSED!r}, as {name!r} used "
                "backwards would be called; rename its folder, or leave source.directions at "
                "forward."
            )


def held_out(recipe: Recipe, tasks: Sequence[str]) -> set[str]:
    """The tasks that `tiers.new_task` holds out: by name, all, or as many as it says by the seed.

    Case, spaces, signs and a number before a name do not matter.

    Raises:
        InputError: A task is not there; the error gives the nearest name.
    """
    new_tasks = recipe.tiers.new_task
    if new_tasks == "all":
        return set(tasks)
    if isinstance(new_tasks, int):
        if not 0 <= new_tasks < len(tasks):
            raise InputError(
                f"tiers.new_task: {new_tasks} tasks cannot be held out, {recipe.source.path} has "
                f"{len(tasks)}."
            )
        return set(sorted(tasks, key=lambda name: draw(recipe.seed, "new_task", name))[:new_tasks])
    by_letters = _by_letters(tasks)
    for name in new_tasks:
        if _letters(name) not in by_letters:
            there = f"there are {', '.join(tasks)}."
            hint = did_you_mean(_letters(name), by_letters, there, shown=by_letters)
            raise InputError(f"There is no task for tiers.new_task: {name!r}; {hint}")
    return {by_letters[_letters(name)] for name in new_tasks}


def _by_letters(tasks: Sequence[str]) -> dict[str, str]:
    """Tasks by the letters of their names.

    The number before a name can be left out where that leaves one task alone.
    """
    bare = [_letters(name).lstrip("0123456789") for name in tasks]
    by_letters = {}
    for short, name in zip(bare, tasks, strict=True):
        if short and bare.count(short) == 1:
            by_letters[short] = name
    return {**by_letters, **{_letters(name): name for name in tasks}}


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", slugs([name])[0])


def _reverse(pair: Pair) -> Pair:
    instruction = f"undo this edit: {pair.instruction}" if pair.instruction else ""
    assert pair.after is not None
    return replace(
        pair,
        task=pair.task + REVERSED,
        name=pair.name + REVERSED,
        before=pair.after,
        after=pair.before,
        instruction=instruction,
    )


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
